import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { StagedFiles } from './staged-files.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-staged-'))
})
afterEach(() => rmSync(dir, { recursive: true }))

test('what a killed process has noted is there for the next one, until it is forgotten', async () => {
  const file = { target: 'docker:abc', path: '/tmp/x.tar' }
  await (await StagedFiles.open(dir)).add(file)
  const { left } = await StagedFiles.open(dir)
  expect(left).toEqual([{ ...file, forget: expect.any(Function) }])
  await left[0]?.forget()
  expect((await StagedFiles.open(dir)).left).toEqual([])
})

test('half a note is nothing, and what is no note is not touched', async () => {
  writeFileSync(join(dir, 'staged-0123456789abcdef.json'), '{"target":"do')
  writeFileSync(join(dir, 'staged-0123456789abcdee.json'), '{"target":1,"path":2}')
  writeFileSync(join(dir, 'theirs.json'), '{}')
  expect((await StagedFiles.open(dir)).left).toEqual([])
  expect(readdirSync(dir)).toEqual(['theirs.json'])
})
