import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import type { CheckContext } from '../check.ts'
import { roomCheck } from './room.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-doctor-room-'))
})
afterEach(() => {
  execFileSync('umount', ['--lazy', dir])
  rmSync(dir, { recursive: true })
})

const found = async (options: string) => {
  execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', dir])
  const notes: string[] = []
  const ctx = { home: { dir }, note: (text: string) => notes.push(text) } as unknown as CheckContext
  const findings = await roomCheck.detect(ctx)
  return { notes, severities: findings.map(({ severity }) => severity) }
}

it('a file system that says 0 of 0 is not full', async () => {
  const { notes, severities } = await found('size=0,nr_inodes=0')
  expect(notes).toEqual([`An unknown number of bytes and any number of inodes are free for ${dir}.`])
  expect(severities).toEqual([])
})

it('one that is nearly full, and has nearly no inodes, is', async () => {
  expect(await found('size=1m,nr_inodes=50')).toMatchObject({ severities: ['error', 'error'] })
})
