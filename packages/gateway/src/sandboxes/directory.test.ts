import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FileRegistry, type Store } from '@coppice/registry'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { Directory } from './directory.ts'
import { type SandboxRecord, SandboxRecordSchema } from './record.ts'
import { removedRecord, runningRecord } from './testing/records.ts'

/** Forgets by age alone. */
const byAge = { before: 2000, most: Number.POSITIVE_INFINITY }

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
    expect(await opened.all()).toMatchObject([{ id, end: { reason: 'removed', lastOutput: '' } }])
    expect(opened.peek(id)).toBeUndefined()
    expect((await opened.findWhole(id)).end?.lastOutput).toBe('last words')
    const facts = { sandboxId: id, end: expect.objectContaining({ reason: 'removed', exitCode: null }) }
    expect(() => opened.find(id)).toThrow(expect.objectContaining({ reason: 'sandbox_removed', facts }))
    expect(() => opened.idOf('one')).toThrow(expect.objectContaining({ reason: 'sandbox_not_found' }))
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
  await directory.forgetEnds(byAge, (id) => forgotten.push(id))
  expect(forgotten).toEqual([old.id])
  expect(() => directory.idOf(old.id)).toThrow(expect.objectContaining({ reason: 'sandbox_not_found' }))
  const ids = [young.id, alive.id].sort()
  for (const opened of [directory, await Directory.open(store)]) {
    expect((await opened.all()).map(({ id }) => id).sort()).toEqual(ids)
  }
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
  await expect(directory.forgetEnds(byAge, (id) => forgotten.push(id))).rejects.toMatchObject({
    reason: 'entry_unreadable',
  })
  expect(forgotten).toEqual([other.id])
})

it('remembers so many ends and forgets the oldest first, also those of before a restart', async () => {
  const directory = await Directory.open(store)
  const records = Array.from({ length: 8 }, (_, at) => runningRecord({ key: `key-${at}` }))
  const end = (from: number, to: number) =>
    Promise.all(
      records.slice(from, to).map(async ({ id }, at) => {
        await directory.update(id, (current) => ({ ...removedRecord(current, ''), removedAt: 1000 + from + at }))
      }),
    )
  for (const record of records) await directory.put(record)
  await end(0, 5)
  const again = await Directory.open(store)
  const forgotten: string[] = []
  await again.forgetEnds({ before: 0, most: 3 }, (id) => forgotten.push(id))
  expect(forgotten).toEqual([records[0]?.id, records[1]?.id])
  expect(again.endCount).toBe(3)
  expect(await again.byKey('key-0')).toBeUndefined()
  expect(await again.byKey('key-2')).toMatchObject({ id: records[2]?.id, state: 'removed' })
  // Without anybody asking, when there is one too many.
  await again.update(records[5]?.id ?? '', (current) => ({ ...removedRecord(current, ''), removedAt: 2000 }))
  await vi.waitFor(() => expect(again.endCount).toBe(3))
  expect(forgotten.at(-1)).toBe(records[2]?.id)
  expect(await again.byKey('key-7')).toMatchObject({ id: records[7]?.id, state: 'running' })
})

it('finds the first that a key has made, and none that never ran', async () => {
  const directory = await Directory.open(store)
  const failed = runningRecord({ key: 'k', createdAt: 1, startedAt: null })
  const [first, second] = [runningRecord({ key: 'k', createdAt: 2 }), runningRecord({ key: 'k', createdAt: 3 })]
  for (const record of [failed, first, second]) await directory.put(record)
  for (const { id } of [failed, first]) await directory.update(id, (current) => removedRecord(current, ''))
  for (const opened of [directory, await Directory.open(store)]) {
    expect(await opened.byKey('k')).toMatchObject({ id: first.id })
  }
})

it('finds what a key makes while an earlier one that it made is being forgotten', async () => {
  const gone = Promise.withResolvers<void>()
  const go = Promise.withResolvers<void>()
  const remove: typeof store.remove = async (...args) => {
    const removed = await store.remove(...args)
    gone.resolve()
    await go.promise
    return removed
  }
  const slow = { list: store.list.bind(store), get: store.get.bind(store), put: store.put.bind(store) }
  const directory = await Directory.open({ ...slow, update: store.update.bind(store), remove })
  const [first, second] = [runningRecord({ key: 'k' }), runningRecord({ key: 'k' })]
  await directory.put(first)
  await directory.update(first.id, (current) => ({ ...removedRecord(current, ''), removedAt: 1000 }))
  const forgetting = directory.forgetEnds(byAge, () => {})
  await gone.promise
  expect(await directory.byKey('k')).toBeUndefined()
  await directory.put(second)
  go.resolve()
  await forgetting
  expect(await directory.byKey('k')).toMatchObject({ id: second.id })
})

it('remembers no more ends than it should where one of them cannot be forgotten', async () => {
  const directory = await Directory.open(store)
  const records = [1, 2, 3].map((removedAt) => ({ ...removedRecord(runningRecord(), ''), removedAt }))
  for (const record of records) await directory.put(record)
  writeFileSync(
    join(
      dir,
      'sandboxes',
      `${createHash('sha256')
        .update(records[0]?.id ?? '')
        .digest('hex')}.json`,
    ),
    '{',
  )
  const forgotten: string[] = []
  const failure = directory.forgetEnds({ before: 2, most: 1 }, (id) => forgotten.push(id))
  await expect(failure).rejects.toMatchObject({ reason: 'entry_unreadable' })
  expect(forgotten).toEqual([records[1]?.id])
})
