import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { contextOf } from '../testing/home.ts'
import { mountTmpfs } from '../testing/mounted.ts'
import { scratchCheck } from './scratch.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-doctor-scratch-'))
})
afterEach(() => rmSync(dir, { recursive: true }))

const found = async (options: string) => {
  using _disk = mountTmpfs(dir, options)
  const notes: string[] = []
  const ctx = contextOf(dir, { env: { COPPICE_SCRATCH_DIR: dir } })
  const findings = await scratchCheck.detect({ ...ctx, note: (text) => void notes.push(text) })
  return { notes, messages: findings.map(({ message }) => message) }
}

const IN_MEMORY = expect.stringContaining('which is in memory (tmpfs)')

it('a file system that says 0 of 0 is not short of room', async () => {
  const { notes, messages } = await found('size=0')
  expect(notes).toEqual([`The scratch folder is ${dir} on tmpfs, an unknown number of bytes free.`])
  expect(messages).toEqual([IN_MEMORY])
})

it('one with little room is', async () => {
  const { messages } = await found('size=1m')
  expect(messages).toEqual([IN_MEMORY, `COPPICE_SCRATCH_DIR is ${dir}, where only 1.0 MiB are free.`])
})
