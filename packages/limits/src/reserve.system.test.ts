import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { RESERVE_BYTES, Reserve } from './reserve.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-reserve-'))
})
afterEach(() => {
  execFileSync('umount', ['--lazy', dir])
  rmSync(dir, { recursive: true })
})

const filled = async (options: string) => {
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', dir])
  await new Reserve(dir).fill()
  return statSync(join(dir, 'reserve'), { throwIfNoEntry: false })?.size
}

it('is taken on a file system that says 0 of 0 bytes and inodes are free', async () => {
  expect(await filled('size=0,nr_inodes=0')).toBe(RESERVE_BYTES)
})

it('is not taken where nearly nothing would be left', async () => {
  expect(await filled('size=1088k')).toBe(RESERVE_BYTES)
  execFileSync('umount', ['--lazy', dir])
  expect(await filled('size=1084k')).toBeUndefined()
})
