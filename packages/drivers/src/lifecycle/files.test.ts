import {
  appendFileSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { SandboxFolder } from './folder.ts'
import { boundInitLog, openInitLog, readLogs } from './logs.ts'
import { readRecord } from './record.ts'
import { writeSupervisorConfig } from './supervisor-config.ts'

let root: string
let folder: SandboxFolder

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'coppice-folder-'))
  folder = new SandboxFolder(root, 'sb-1')
  mkdirSync(folder.state, { recursive: true })
})
afterEach(() => rmSync(root, { recursive: true }))

test('a sandbox folder takes ids that are plain names only', () => {
  for (const id of ['', '.', '..', 'a/b', '-a', 'a\0', 'A', 'x'.repeat(64)]) {
    expect(() => new SandboxFolder(root, id)).toThrow(expect.objectContaining({ reason: 'bad_sandbox_id' }))
  }
})

test('a record that is damaged, of another schema, or absent is no record', async () => {
  expect(await readRecord(folder.record)).toBeUndefined()
  for (const text of ['', '{', 'null', '[]', '{"schema":2}']) {
    writeFileSync(folder.record, text)
    expect(await readRecord(folder.record)).toBeUndefined()
  }
})

test('an init log that has grown is cut to its end while its writer goes on', () => {
  const writer = openInitLog(folder)
  writeSync(writer, 'x'.repeat(2 * 1024 * 1024))
  writeSync(writer, 'before\n')
  boundInitLog(folder)
  writeSync(writer, 'after\n')
  closeSync(writer)
  expect(statSync(folder.initLog).size).toBe(512 * 1024 + 'after\n'.length)
  expect(readFileSync(folder.initLog, 'utf8')).toMatch(/xbefore\nafter\n$/)
})

test('logs are the end of the init log and of the supervisor log, never more than asked for', async () => {
  appendFileSync(folder.initLog, `${'i'.repeat(1000)}init\n`)
  expect((await readLogs(folder, 5)).toString()).toBe('init\n')
  writeFileSync(join(folder.state, 'supervisor.log'), `${'s'.repeat(1000)}supervisor\n`)
  const some = (await readLogs(folder, 100)).toString()
  expect(some).toHaveLength(100)
  expect(some).toMatch(/init\ns+supervisor\n$/)
  expect((await readLogs(folder, 10_000)).length).toBe(1005 + 1011)
})

test('a supervisor configuration replaces the one before and can be read by its owner alone', () => {
  const uid = process.getuid?.() ?? 0
  for (const token of ['one', 'two']) {
    const config = { sandboxId: 'sb-1', token } as Parameters<typeof writeSupervisorConfig>[1]
    writeSupervisorConfig(root, config, uid)
    expect(JSON.parse(readFileSync(join(root, 'sandbox.json'), 'utf8'))).toEqual(config)
  }
  expect(statSync(join(root, 'sandbox.json')).mode & 0o777).toBe(0o400)
})
