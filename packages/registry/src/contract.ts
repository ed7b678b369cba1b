import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { freeze, startWriter } from './contract-processes.ts'
import type { Tally } from './contract-writer.ts'
import type { Registry, Store } from './store.ts'

export { describeKills } from './contract-kills.ts'

/** Data of one test, and ways to it. */
export interface StoreFixture {
  /** A registry over the data, as a process of its own would have it. */
  open(): Promise<Registry>
  /** A module that exports `openRegistry(place: string): Promise<Registry>`, for processes that the suite starts. */
  module: URL
  place: string
  /** Removes the data. */
  close(): Promise<void>
}

interface Note {
  text: string
  nested?: Record<string, unknown>
}

const KIND = 'notes'
/** The examination that every registry passes. See store.ts for what it promises. */
export function describeStore(name: string, factory: () => Promise<StoreFixture>): void {
  describe(`registry: ${name}`, () => {
    let fixture: StoreFixture
    let registry: Registry
    let notes: Store<Note>

    beforeEach(async () => {
      fixture = await factory()
      registry = await fixture.open()
      notes = registry.kind<Note>(KIND)
    })
    afterEach(() => fixture.close())

    it('gives back what was put, with its version, also to another process', async () => {
      expect(await notes.put('a', { text: 'one' })).toEqual({ id: 'a', version: 1, value: { text: 'one' } })
      const other = (await fixture.open()).kind<Note>(KIND)
      expect(await other.get('a')).toEqual({ id: 'a', version: 1, value: { text: 'one' } })
    })

    it('has no entry under an id that was never put, in any kind', async () => {
      expect(await notes.get('nobody')).toBeUndefined()
      expect(await registry.kind('never-used').list()).toEqual({ entries: [], skipped: [] })
    })

    it('keeps kinds apart', async () => {
      await notes.put('a', { text: 'one' })
      expect(await registry.kind('others').get('a')).toBeUndefined()
    })

    it('replaces only the version that was expected', async () => {
      await notes.put('a', { text: 'one' })
      expect((await notes.put('a', { text: 'two' }, { expect: 1 })).version).toBe(2)
      await expect(notes.put('a', { text: 'three' }, { expect: 1 })).rejects.toMatchObject({
        code: 'conflict',
        reason: 'version_mismatch',
        facts: { expected: 1, actual: 2 },
      })
      await expect(notes.put('b', { text: 'x' }, { expect: 1 })).rejects.toMatchObject({ facts: { actual: null } })
      expect((await notes.get('a'))?.value.text).toBe('two')
    })

    it('creates only what is absent when told so, and only once among many', async () => {
      const tries = await Promise.allSettled(
        Array.from({ length: 20 }, async (_, i) =>
          (await fixture.open()).kind<Note>(KIND).put('a', { text: String(i) }, { expect: 'absent' }),
        ),
      )
      expect(tries.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1)
      for (const outcome of tries) {
        if (outcome.status === 'rejected')
          expect(outcome.reason).toMatchObject({ code: 'already_exists', reason: 'entry_exists' })
      }
    })

    it('updates from the current value, and leaves it when told so', async () => {
      await notes.put('a', { text: 'one' })
      const updated = await notes.update('a', (note, version) => ({ text: `${note.text}+${version}` }))
      expect(updated).toEqual({ id: 'a', version: 2, value: { text: 'one+1' } })
      expect(await notes.update('a', () => undefined)).toEqual(updated)
      expect(await notes.get('a')).toEqual(updated)
    })

    it('does not update what is not there, and passes on what the change throws', async () => {
      await expect(notes.update('a', (note) => note)).rejects.toMatchObject({
        code: 'not_found',
        reason: 'entry_not_found',
      })
      await notes.put('a', { text: 'one' })
      const refuse = () => {
        throw new RangeError('no')
      }
      await expect(notes.update('a', refuse)).rejects.toThrow(RangeError)
      expect((await notes.get('a'))?.version).toBe(1)
    })

    it('keeps fields that this version does not know', async () => {
      await notes.put('a', { text: 'one', nested: { known: 1, unknown: { deep: true } }, later: 'kept' } as Note)
      const strict = (await fixture.open()).kind<Note>(KIND, (value) => {
        const { text, nested } = value as Note
        return { text, nested: { known: nested?.known } }
      })
      await strict.update('a', (note) => ({ ...note, text: 'two' }))
      expect((await notes.get('a'))?.value).toEqual({
        text: 'two',
        nested: { known: 1, unknown: { deep: true } },
        later: 'kept',
      })
    })

    it('forgets a removed entry, and goes on with its versions when it is created anew', async () => {
      await notes.put('a', { text: 'one' })
      expect(await notes.remove('a')).toBe(true)
      expect(await notes.get('a')).toBeUndefined()
      expect((await notes.list()).entries).toEqual([])
      expect(await notes.remove('a')).toBe(false)
      expect(await notes.put('a', { text: 'new' }, { expect: 'absent' })).toMatchObject({
        version: 3,
        value: { text: 'new' },
      })
    })

    it('removes only the version that was expected', async () => {
      await notes.put('a', { text: 'one' })
      await expect(notes.remove('a', { expect: 7 })).rejects.toMatchObject({ reason: 'version_mismatch' })
      expect(await notes.remove('a', { expect: 1 })).toBe(true)
    })

    it('keeps an entry removed when an update of it was in flight', async () => {
      await notes.put('a', { text: 'one' })
      const other = (await fixture.open()).kind<Note>(KIND)
      const update = other.update('a', async (note) => {
        await notes.remove('a')
        return { text: `${note.text}, risen` }
      })
      await expect(update).rejects.toMatchObject({ reason: 'entry_not_found' })
      expect(await notes.get('a')).toBeUndefined()
    })

    it('does not let a late writer of a removed entry touch the new one of the same id', async () => {
      const first = await notes.put('a', { text: 'one' })
      await notes.remove('a')
      await notes.put('a', { text: 'new' })
      await expect(notes.put('a', { text: 'late' }, { expect: first.version })).rejects.toMatchObject({
        reason: 'version_mismatch',
      })
      expect((await notes.get('a'))?.value.text).toBe('new')
    })

    it('lists in one order, whatever the locale and the order of creation', async () => {
      const ids = ['ä', 'z', 'Z', 'a', '10', '9', '\u{1f600}', 'e\u0301', '\u00e9']
      for (const id of ids) await notes.put(id, { text: id })
      expect((await notes.list()).entries.map((entry) => entry.id)).toEqual(ids.toSorted((a, b) => (a < b ? -1 : 1)))
    })

    it('lists what is kept of each entry, and leaves the entries as they are', async () => {
      for (const id of ['a', 'b']) await notes.put(id, { text: `long ${id}` })
      const { entries } = await notes.list(({ text }) => ({ text: text.slice(-1) }))
      expect(entries).toEqual(['a', 'b'].map((id) => ({ id, version: 1, value: { text: id } })))
      expect((await notes.get('a'))?.value.text).toBe('long a')
    })

    it.each([
      ['a path upwards', '../../etc/passwd'],
      ['an absolute path', '/etc/passwd'],
      ['NUL', 'a\0b'],
      ['4,096 characters', 'x'.repeat(4096)],
      ['a device of another system', 'CON'],
      ['emoji', '\u{1f331}'],
      ['a dot', '.'],
      ['__proto__', '__proto__'],
      ['a line break', 'a\nb'],
    ])('takes %s as an id', async (_, id) => {
      await notes.put(id, { text: id })
      expect(await notes.get(id)).toEqual({ id, version: 1, value: { text: id } })
      expect((await notes.list()).entries.map((entry) => entry.id)).toEqual([id])
    })

    it.each([
      ['nothing', ''],
      ['10,000 characters', 'x'.repeat(10_000)],
      ['half a surrogate pair', 'a\ud800'],
    ])('refuses %s as an id, typed', async (_, id) => {
      await expect(notes.put(id, { text: 'x' })).rejects.toMatchObject({
        code: 'invalid_argument',
        reason: 'invalid_id',
      })
      await expect(notes.get(id)).rejects.toMatchObject({ reason: 'invalid_id' })
    })

    it.each(['../x', 'a/b', '', 'A', '.', 'x'.repeat(64)])('refuses "%s" as a kind, typed', (kind) => {
      expect(() => registry.kind(kind)).toThrow(expect.objectContaining({ reason: 'invalid_kind' }))
    })

    it('refuses what is no JSON object, and keeps the old value', async () => {
      await notes.put('a', { text: 'one' })
      const cyclic: Note & { self?: unknown } = { text: 'x' }
      cyclic.self = cyclic
      for (const value of [[], null, 'text', cyclic, { text: 'x'.repeat(9 * 1024 * 1024) }]) {
        await expect(notes.put('a', value as Note)).rejects.toMatchObject({
          code: 'invalid_argument',
          reason: 'invalid_value',
        })
      }
      expect((await notes.get('a'))?.value.text).toBe('one')
    })

    it('says which entry `parse` refuses, and lists the others', async () => {
      await notes.put('bad', { text: 'bad' })
      await notes.put('good', { text: 'good' })
      const picky = (await fixture.open()).kind<Note>(KIND, (value) => {
        if ((value as Note).text === 'bad') throw new Error('text must not be bad')
        return value as Note
      })
      await expect(picky.get('bad')).rejects.toMatchObject({
        code: 'failed_precondition',
        reason: 'entry_unreadable',
        facts: { skip: 'invalid_value' },
      })
      const listing = await picky.list()
      expect(listing.entries.map((entry) => entry.id)).toEqual(['good'])
      expect(listing.skipped).toMatchObject([{ reason: 'invalid_value', detail: 'text must not be bad' }])
    })

    it('lands 100 updates of one entry from 8 processes at once, in under a second', { timeout: 60_000 }, async () => {
      const tallies = registry.kind<Tally>('tallies')
      const race = async (id: string): Promise<number> => {
        await tallies.put(id, { total: 0, writers: {} })
        const shares = [13, 13, 13, 13, 12, 12, 12, 12]
        const writers = shares.map((share, i) => startWriter(fixture, `w${i}`, share, id))
        await Promise.all(writers.map((writer) => writer.ready))
        const start = performance.now()
        for (const writer of writers) writer.go()
        const ends = await Promise.all(writers.map((writer) => writer.ended))
        const elapsed = performance.now() - start
        expect(ends.map((end) => end.acknowledged)).toEqual(shares)
        const tally = await tallies.get(id)
        expect(tally).toMatchObject({ version: 101, value: { total: 100 } })
        expect(tally?.value.writers).toEqual(Object.fromEntries(shares.map((share, i) => [`w${i}`, share])))
        return elapsed
      }
      // All land each time. The second is the store's; what else the machine does at that moment is not.
      let elapsed = await race('t0')
      for (let round = 1; round < 4 && elapsed >= 1000; round++) elapsed = Math.min(elapsed, await race(`t${round}`))
      expect(elapsed).toBeLessThan(1000)
    })

    it('keeps an entry removed while 4 processes are updating it', async () => {
      const tallies = registry.kind<Tally>('tallies')
      await tallies.put('t', { total: 0, writers: {} })
      const writers = Array.from({ length: 4 }, (_, i) => startWriter(fixture, `w${i}`, 0))
      await Promise.all(writers.map((writer) => writer.ready))
      for (const writer of writers) writer.go()
      await Promise.all(writers.map((writer) => writer.first))
      expect(await tallies.remove('t')).toBe(true)
      expect(await tallies.get('t')).toBeUndefined()
      const ends = await Promise.all(writers.map((writer) => writer.ended))
      expect(ends.map((end) => end.gone)).toEqual([true, true, true, true])
      expect(await tallies.get('t')).toBeUndefined()
      expect((await tallies.list()).entries).toEqual([])
    })

    it('is not brought back by a writer that was frozen in the middle of an update', { timeout: 60_000 }, async () => {
      const tallies = registry.kind<Tally>('tallies')
      await tallies.put('t', { total: 0, writers: {}, life: 0 })
      const writer = startWriter(fixture, 'late', 0)
      await writer.ready
      writer.go()
      await writer.first
      for (let life = 1; life <= 25; life++) {
        await freeze(writer.child)
        await tallies.remove('t')
        expect(await tallies.get('t')).toBeUndefined()
        const created = await tallies.put('t', { total: 0, writers: {}, life }, { expect: 'absent' })
        const acknowledged = writer.next()
        writer.child.kill('SIGCONT')
        await acknowledged
        const seen = await tallies.get('t')
        expect(seen?.value.life).toBe(life)
        // Everything since its creation was built on it: the new life's versions and its count go up together.
        expect(seen?.version).toBe(created.version + (seen?.value.total ?? Number.NaN))
      }
      writer.child.kill('SIGKILL')
      await writer.ended
    })

    it('does not make writers of different entries wait for one another', { timeout: 60_000 }, async () => {
      const tallies = registry.kind<Tally>('tallies')
      await tallies.put('t', { total: 0, writers: {} })
      for (let round = 0; round < 10; round++) {
        const frozen = startWriter(fixture, `frozen${round}`, 0)
        await frozen.ready
        frozen.go()
        await frozen.first
        await freeze(frozen.child)
        // Neither another entry nor even the same one needs anything from the process that stands.
        await notes.put('other', { text: String(round) })
        await tallies.update('t', (tally) => ({ ...tally }))
        frozen.child.kill('SIGKILL')
        await frozen.ended
      }
      expect((await notes.get('other'))?.version).toBe(10)
    })
  })
}
