import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bootId } from '../host/boot.ts'
import { explainEnd } from './end.ts'
import type { Engine } from './engine.ts'
import { SandboxFolder } from './folder.ts'
import type { SandboxRecord } from './record.ts'

let root: string
let folder: SandboxFolder
let oomKilled: boolean

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'coppice-end-'))
  folder = new SandboxFolder(root, 'sb-1')
  mkdirSync(folder.state, { recursive: true })
  oomKilled = false
})
afterEach(() => rmSync(root, { recursive: true }))

const engine = { initOomKilled: () => oomKilled } as unknown as Engine
const explain = (changes: Partial<SandboxRecord> = {}) =>
  explainEnd(engine, folder, { bootId: bootId(), asked: null, ...changes } as SandboxRecord)
const exitFile = (text: string): void => writeFileSync(join(folder.state, 'exit'), text)

test('another boot is the strongest reason', async () => {
  oomKilled = true
  exitFile('{"exitCode":0}')
  expect(await explain({ bootId: 'another', asked: 'stop' })).toMatchObject({ reason: 'host_rebooted', exitCode: null })
})

test('an end that was asked for is told as such, in order or not', async () => {
  expect(await explain({ asked: 'remove' })).toMatchObject({ reason: 'removed' })
  expect(await explain({ asked: 'stop' })).toMatchObject({ reason: 'stopped', exitCode: null })
  exitFile('{"exitCode":0}')
  expect(await explain({ asked: 'stop' })).toMatchObject({ reason: 'stopped', exitCode: 0 })
})

test('an end that nobody asked for is an exit, a kill for memory, or a kill', async () => {
  expect(await explain()).toMatchObject({ reason: 'killed' })
  oomKilled = true
  expect(await explain()).toMatchObject({ reason: 'oom_killed' })
  exitFile('{"exitCode":3}')
  expect(await explain()).toMatchObject({ reason: 'exited', exitCode: 3 })
})

test('an exit file that a sandbox has filled with anything gives no exit code', async () => {
  for (const text of ['{"exitCode":-1}', '{"exitCode":256}', '{"exitCode":1.5}', '{"exitCode":"0"}', '{}']) {
    exitFile(text)
    expect(await explain()).toMatchObject({ reason: 'exited', exitCode: null })
  }
  exitFile(`{"exitCode":0,"x":"${'x'.repeat(100_000)}"}`)
  expect(await explain()).toMatchObject({ reason: 'killed', exitCode: null })
})
