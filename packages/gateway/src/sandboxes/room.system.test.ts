import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { requireRoom } from './room.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-room-'))
})
afterEach(() => {
  execFileSync('umount', ['--lazy', dir])
  rmSync(dir, { recursive: true })
})

const mount = (options: string) => execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', dir])
const refused = (facts: Record<string, unknown>) => expect.objectContaining({ reason: 'disk_full', facts })

it('a file system that says 0 of 0 has room', () => {
  mount('size=0,nr_inodes=0')
  expect(statfsSync(dir)).toMatchObject({ blocks: 0, bavail: 0, files: 0, ffree: 0 })
  expect(() => requireRoom(dir)).not.toThrow()
})

it('one that is tiny has room until it is full', () => {
  mount('size=1m,nr_inodes=66')
  expect(() => requireRoom(dir)).not.toThrow()
  writeFileSync(join(dir, 'file'), 'x')
  expect(() => requireRoom(dir)).toThrow(refused({ path: dir, neededBytes: 2 ** 20, freeBytes: 2 ** 20 - 4096 }))
})

it('one without inodes is full', () => {
  mount('size=2m,nr_inodes=65')
  expect(() => requireRoom(dir)).not.toThrow()
  writeFileSync(join(dir, 'file'), '')
  expect(() => requireRoom(dir)).toThrow(refused({ path: dir, neededInodes: 64, freeInodes: 63 }))
})

it('one that is not there is nothing to be refused for', () => {
  mount('size=1m')
  expect(() => requireRoom(join(dir, 'nothing'))).not.toThrow()
})
