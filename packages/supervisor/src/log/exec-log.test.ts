import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { ExecLog } from './exec-log.ts'
import type { EndRecord, StartRecord } from './records.ts'

let dir: string
let path: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'exec-log-'))
  path = join(dir, 'execs.log')
})
afterEach(() => rmSync(dir, { recursive: true }))

const facts = (id: string, key: string) => ({
  id,
  key,
  specSha: `sha-${id}`,
  argv: ['true'],
  cwd: '/',
  user: '',
  pty: false,
  startedAt: 1,
})
const start = (id: string, key = `auto-${id}`): StartRecord => ({
  t: 'start',
  ...facts(id, key),
  launcher: { pid: 1, startTime: 2, scope: '' },
})
const end = (id: string, key = `auto-${id}`, endedAt = 1000, inline = ''): EndRecord => ({
  t: 'end',
  ...facts(id, key),
  endedAt,
  stdinAcknowledged: 0,
  result: null,
  error: null,
  journal: { end: 0, stdoutBytes: 0, stderrBytes: 0, segments: [], lost: [], inline },
})

test('a log that is opened again knows what runs, what has ended, and every key', async () => {
  const log = new ExecLog(path)
  log.append(start('a'))
  log.append(start('b', 'mine'))
  log.append(end('b', 'mine'))
  await log.close()
  const again = new ExecLog(path)
  expect(again.running.map((record) => record.id)).toEqual(['a'])
  expect(again.ended('b')).toEqual(end('b', 'mine'))
  expect(again.byKey('mine')).toEqual({ id: 'b', specSha: 'sha-b' })
  expect(again.byKey('auto-a')?.id).toBe('a')
  await again.close()
})

test('a torn last line is as if it had never been written, and the next one is whole', async () => {
  const log = new ExecLog(path)
  log.append(start('a'))
  log.append(end('a'))
  await log.close()
  const bytes = readFileSync(path)
  const used = bytes.toString('latin1').trimEnd().length
  truncateSync(path, used - 20)
  const torn = new ExecLog(path)
  expect(torn.hasEnded('a')).toBe(false)
  expect(torn.running.map((record) => record.id)).toEqual(['a'])
  torn.append(end('a'))
  await torn.close()
  const again = new ExecLog(path)
  expect(again.ended('a')).toEqual(end('a'))
  await again.close()
})

test('a line that is torn in front of reserved space is skipped', async () => {
  writeFileSync(path, `${JSON.stringify(start('a'))}\n{"t":"end","id":"a","ke\n\n\n\n`)
  const log = new ExecLog(path)
  expect(log.running.map((record) => record.id)).toEqual(['a'])
  log.append(end('a'))
  await log.close()
  expect(new ExecLog(path).ended('a')).toEqual(end('a'))
})

test('a line of nonsense hides nothing else', async () => {
  writeFileSync(path, `${JSON.stringify(start('a'))}\n\x00\x01garbage\n`)
  appendFileSync(path, `${JSON.stringify(end('a'))}\n`)
  expect(new ExecLog(path).hasEnded('a')).toBe(true)
})

test('what is forgotten goes; keys that clients chose stay for ever', async () => {
  const log = new ExecLog(path)
  log.append(end('a', 'mine', 1000))
  log.append(end('b', 'auto-b', 1000))
  log.append(end('c', 'auto-c', 5000))
  expect(log.forget(2000)).toEqual(['a', 'b'])
  expect(log.byKey('mine')?.id).toBe('a')
  expect(log.byKey('auto-b')).toBeUndefined()
  expect(log.hasEnded('c')).toBe(true)
  await log.close()
})

test('compaction keeps every promise while records go on coming', async () => {
  const log = new ExecLog(path)
  const bulk = 'x'.repeat(4000)
  log.append(end('keeper', 'mine', 1000))
  for (let index = 0; index < 1500; index++) log.append(end(`old${index}`, `auto-old${index}`, 1000, bulk))
  for (let index = 0; index < 300; index++) log.append(end(`new${index}`, `auto-new${index}`, 9000, bulk))
  log.append(start('runs'))
  const before = statSync(path).size
  log.forget(2000)
  log.append(end('late', 'auto-late', 9000))
  await log.close()
  expect(statSync(path).size).toBeLessThan(before / 2)
  const again = new ExecLog(path)
  expect(again.byKey('mine')).toEqual({ id: 'keeper', specSha: 'sha-keeper' })
  expect(again.running.map((record) => record.id)).toEqual(['runs'])
  expect(again.endedIds.length).toBe(301)
  expect(again.ended('new299')).toEqual(end('new299', 'auto-new299', 9000, bulk))
  expect(again.ended('late')).toEqual(end('late', 'auto-late', 9000))
  expect(again.byKey('auto-old3')).toBeUndefined()
  await again.close()
})

test('positions are right in the same process after compaction', async () => {
  const log = new ExecLog(path)
  for (let index = 0; index < 1500; index++) log.append(end(`old${index}`, `auto-old${index}`, 1000, 'x'.repeat(4000)))
  for (let index = 0; index < 250; index++) log.append(end(`new${index}`, `auto-new${index}`, 9000))
  const before = statSync(path).size
  log.forget(2000)
  log.append(end('late'))
  await expect.poll(() => statSync(path).size).toBeLessThan(before / 2)
  expect(log.ended('new0')?.id).toBe('new0')
  expect(log.ended('new249')?.id).toBe('new249')
  expect(log.ended('late')?.id).toBe('late')
  await log.close()
})
