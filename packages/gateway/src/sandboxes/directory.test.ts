import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileRegistry, type Store } from '@coppice/registry'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { Directory } from './directory.ts'
import { type SandboxRecord, SandboxRecordSchema } from './record.ts'
import { removedRecord, runningRecord } from './testing/records.ts'

let dir: string
let store: Store<SandboxRecord>

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-directory-'))
  store = (await FileRegistry.open(dir)).kind('sandboxes', (value) => SandboxRecordSchema.parse(value))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

it('has the last output of a removed sandbox on disk alone, also after a restart', async () => {
  const directory = await Directory.open(store)
  const record = runningRecord({ name: 'one' })
  const { id } = record
  await directory.put(record)
  const answer = await directory.update(id, (current) => removedRecord(current, 'last words'))
  expect(answer.end?.lastOutput).toBe('last words')
  for (const opened of [directory, await Directory.open(store)]) {
    expect(opened.existing()).toEqual([])
    expect(opened.all()).toMatchObject([{ id, end: { reason: 'removed', lastOutput: '' } }])
    expect(opened.findAny(id).end?.lastOutput).toBe('')
    expect((await opened.findWhole(id)).end?.lastOutput).toBe('last words')
    expect(() => opened.find(id)).toThrow(expect.objectContaining({ reason: 'sandbox_removed' }))
    expect(() => opened.findAny('one')).toThrow(expect.objectContaining({ reason: 'sandbox_not_found' }))
  }
})

it('has that of a stopped one at hand', async () => {
  const directory = await Directory.open(store)
  const record = runningRecord()
  await directory.put(record)
  const { end } = removedRecord(record, 'so far')
  await directory.update(record.id, (current) => ({ ...current, state: 'stopped', end }))
  for (const opened of [directory, await Directory.open(store)]) {
    expect(opened.find(record.id).end?.lastOutput).toBe('so far')
    expect((await opened.findWhole(record.id)).end?.lastOutput).toBe('so far')
  }
})

it('forgets removed ones by age, and counts only those that exist', async () => {
  const directory = await Directory.open(store)
  const [old, young, alive] = [runningRecord(), runningRecord(), runningRecord()]
  for (const record of [old, young, alive]) await directory.put(record)
  await directory.update(old.id, (current) => ({ ...removedRecord(current, ''), removedAt: 1000 }))
  await directory.update(young.id, (current) => ({ ...removedRecord(current, ''), removedAt: 2000 }))
  expect(() => directory.reserve(runningRecord(), 1)).toThrow(expect.objectContaining({ reason: 'too_many_sandboxes' }))
  directory.reserve(runningRecord(), 2)()
  const forgotten: string[] = []
  await directory.forget(2000, (id) => forgotten.push(id))
  expect(forgotten).toEqual([old.id])
  expect(directory.peek(old.id)).toBeUndefined()
  expect((await Directory.open(store)).all().map(({ id }) => id)).toEqual(directory.all().map(({ id }) => id))
})

it('forgets the others when one of them cannot be, and says so', async () => {
  const directory = await Directory.open(store)
  const [damaged, other] = [runningRecord(), runningRecord()]
  for (const record of [damaged, other]) {
    await directory.put(record)
    await directory.update(record.id, (current) => ({ ...removedRecord(current, ''), removedAt: 1000 }))
  }
  writeFileSync(join(dir, 'sandboxes', `${createHash('sha256').update(damaged.id).digest('hex')}.json`), '{')
  const forgotten: string[] = []
  await expect(directory.forget(2000, (id) => forgotten.push(id))).rejects.toMatchObject({ reason: 'entry_unreadable' })
  expect(forgotten).toEqual([other.id])
})
