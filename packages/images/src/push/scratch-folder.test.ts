import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ScratchFolder } from './scratch-folder.ts'

let dir: string
let warnings: string[]
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-scratch-'))
  warnings = []
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const open = (fallback: string, env: Record<string, string> = {}) =>
  ScratchFolder.open(fallback, (message) => warnings.push(message), env)

test('a scratch folder is made for its owner alone', async () => {
  const { dir: made } = await open(join(dir, 'state/scratch'))
  expect(statSync(made).mode & 0o777).toBe(0o700)
  expect(warnings).toEqual([])
})

test('the environment names another, and what killed processes left there is swept, and nothing else', async () => {
  writeFileSync(join(dir, 'transfer-1-x'), 'left')
  writeFileSync(join(dir, 'theirs'), 'not ours')
  expect((await open('/nonexistent', { COPPICE_SCRATCH_DIR: dir })).dir).toBe(dir)
  expect(readdirSync(dir)).toEqual(['theirs'])
})

test('one that cannot be used is named, with what helps', async () => {
  writeFileSync(join(dir, 'file'), '')
  await expect(open(join(dir, 'file'))).rejects.toMatchObject({
    reason: 'scratch_unusable',
    hint: expect.stringContaining('COPPICE_SCRATCH_DIR='),
  })
})

test('one that cannot be written to is refused when it is opened, not in the middle of a push', async () => {
  await expect(open('/nonexistent', { COPPICE_SCRATCH_DIR: '/proc/self' })).rejects.toMatchObject({
    reason: 'scratch_unusable',
    facts: { dir: '/proc/self' },
  })
})

test('one that can no longer be written to is an error that says so', async () => {
  const scratch = await open(join(dir, 'gone'))
  rmSync(join(dir, 'gone'), { recursive: true })
  await expect(scratch.take((async function* () {})(), 1, Progress.none())).rejects.toMatchObject({
    code: 'failed_precondition',
    reason: 'scratch_unusable',
    hint: expect.stringContaining('COPPICE_SCRATCH_DIR='),
  })
})

test('one in memory is used with a warning that says how large it is', async (context) => {
  let tmpfs: string
  try {
    tmpfs = mkdtempSync('/dev/shm/coppice-scratch-')
  } catch {
    context.skip('there is no /dev/shm here')
    return
  }
  try {
    const scratch = await open('/nonexistent', { COPPICE_SCRATCH_DIR: tmpfs })
    expect(scratch.warning).toBe(warnings[0])
    expect(readdirSync(tmpfs)).toEqual([])
    expect(warnings).toEqual([expect.stringMatching(/^The scratch folder \/dev\/shm\/.* is a tmpfs of \d+ MiB: /)])
  } finally {
    rmSync(tmpfs, { recursive: true })
  }
})

test('a file in it has no name from its first byte on, and comes back whole', async () => {
  const scratch = await open(dir)
  const names: string[][] = []
  async function* content() {
    for (const text of ['one ', 'two ', 'three']) {
      names.push(readdirSync(dir))
      yield Buffer.from(text)
    }
  }
  const file = await scratch.take(content(), 10, Progress.none())
  expect(names).toEqual([[], [], []])
  expect(await file.sizeBytes()).toBe(13)
  const read = await Array.fromAsync(file.chunks(), (chunk) => chunk.toString())
  expect(read.join('')).toBe('one two three')
  await file.close()
})
