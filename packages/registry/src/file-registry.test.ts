import { createHash } from 'node:crypto'
import { chmod, link, mkdir, readdir, readFile, rm, stat, symlink, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { StoreFixture } from './contract.ts'
import { fileFixture } from './file-fixture.ts'
import { FileRegistry } from './file-registry.ts'
import { encodeRecord, newNonce, RECORD_SCHEMA } from './record.ts'
import type { Store } from './store.ts'

interface Note {
  text: string
}

const HOUR = 3_600_000
const DAY = 24 * HOUR

const stemOf = (id: string) => createHash('sha256').update(id).digest('hex')

describe('registry files', () => {
  let fixture: StoreFixture
  let registry: FileRegistry
  let notes: Store<Note>
  let folder: string

  const base = (id: string) => join(folder, `${stemOf(id)}.json`)
  const nonceOf = async (id: string) => (JSON.parse(await readFile(base(id), 'utf8')) as { nonce: string }).nonce

  /** What a writer leaves that was killed between taking the slot and publishing: the draft, linked as successor of `parent`. */
  const plantSuccessor = async (
    id: string,
    parent: string,
    version: number,
    extra: object = { value: { text: 'planted' } },
  ) => {
    const nonce = newNonce()
    const draft = join(folder, `${stemOf(id)}.${nonce}.new`)
    const slot = join(folder, `${stemOf(id)}.${parent}.next`)
    await writeFile(draft, encodeRecord({ schema: RECORD_SCHEMA, kind: 'notes', id, version, nonce, ...extra }))
    await link(draft, slot)
    return { draft, slot }
  }
  const age = async (path: string, ms: number) => utimes(path, new Date(Date.now() - ms), new Date(Date.now() - ms))

  beforeEach(async () => {
    fixture = await fileFixture()
    registry = await FileRegistry.open(fixture.place)
    notes = registry.kind<Note>('notes')
    folder = join(fixture.place, 'notes')
  })
  afterEach(() => fixture.close())

  it('are one 0600 file per entry in a 0700 folder, and nothing else stays', async () => {
    await notes.put('a', { text: 'one' })
    await notes.update('a', () => ({ text: 'two' }))
    await notes.put('../b', { text: 'b' })
    expect((await readdir(folder)).sort()).toEqual([`${stemOf('../b')}.json`, `${stemOf('a')}.json`].sort())
    expect((await stat(base('a'))).mode & 0o777).toBe(0o600)
    expect((await stat(folder)).mode & 0o777).toBe(0o700)
    expect(JSON.parse(await readFile(base('a'), 'utf8'))).toMatchObject({
      schema: 1,
      kind: 'notes',
      id: 'a',
      version: 2,
    })
  })

  it.each([
    ['empty', (path: string) => truncate(path, 0), 'corrupt'],
    ['truncated', (path: string) => truncate(path, 40), 'corrupt'],
    ['an array', (path: string) => writeFile(path, '[]'), 'corrupt'],
    ['wrong-typed', (path: string) => writeFile(path, '{"schema":1,"version":"x"}'), 'corrupt'],
    ['of a future schema', (path: string) => writeFile(path, '{"schema":99}'), 'future_schema'],
    ['9 MiB long', (path: string) => truncate(path, 9 * 1024 * 1024), 'too_large'],
    ['a folder', (path: string) => rm(path).then(() => mkdir(path)), 'not_a_file'],
    ['a symbolic link', (path: string) => rm(path).then(() => symlink('/etc/passwd', path)), 'not_a_file'],
    ['another entry', async (path: string) => writeFile(path, await readFile(base('good'))), 'wrong_name'],
  ])('which are %s are skipped with the reason, hide nothing, and are not overwritten', async (_, damage, reason) => {
    await notes.put('good', { text: 'good' })
    await notes.put('bad', { text: 'bad' })
    await damage(base('bad'))
    const listing = await notes.list()
    expect(listing.entries.map((entry) => entry.id)).toEqual(['good'])
    expect(listing.skipped).toMatchObject([{ file: `${stemOf('bad')}.json`, reason }])
    expect((await notes.get('good'))?.value.text).toBe('good')
    const before = await stat(base('bad'))
    const refused = { code: 'failed_precondition', reason: 'entry_unreadable', facts: { skip: reason } }
    await expect(notes.get('bad')).rejects.toMatchObject(refused)
    await expect(notes.put('bad', { text: 'x' })).rejects.toMatchObject(refused)
    await expect(notes.update('bad', () => ({ text: 'x' }))).rejects.toMatchObject(refused)
    await expect(notes.remove('bad')).rejects.toMatchObject(refused)
    expect((await stat(base('bad'))).ino).toBe(before.ino)
  })

  it('are all in the folder of their kind, whatever the id', async () => {
    const ids = [
      '../x',
      '/abs',
      '../../../../tmp/x',
      'a\0b',
      'CON',
      '\u{1f331}',
      'e\u0301',
      '\u00e9',
      '.',
      '..',
      'a/b\\c',
    ]
    for (const id of ids) await notes.put(id, { text: id })
    const files = await readdir(fixture.place, { recursive: true, withFileTypes: true })
    const paths = files.filter((file) => !file.isDirectory()).map((file) => join(file.parentPath, file.name))
    expect(paths.sort()).toEqual(ids.map(base).sort())
    for (const id of ids) expect((await notes.get(id))?.value.text).toBe(id)
  })

  it('of a newer version keep what it has written beside the value', async () => {
    await notes.put('a', { text: 'one' })
    const record = JSON.parse(await readFile(base('a'), 'utf8')) as object
    await writeFile(base('a'), JSON.stringify({ ...record, origin: { host: 'h1' } }))
    await notes.update('a', () => ({ text: 'two' }))
    expect(JSON.parse(await readFile(base('a'), 'utf8'))).toMatchObject({
      origin: { host: 'h1' },
      value: { text: 'two' },
    })
  })

  it('of strangers are named in the list of what was skipped', async () => {
    await notes.put('a', { text: 'one' })
    await writeFile(join(folder, 'README'), 'hello')
    expect((await notes.list()).skipped).toMatchObject([{ file: 'README', reason: 'foreign' }])
  })

  it('that cannot be reached are a permission error, never an absent entry', async (ctx) => {
    if (process.geteuid?.() !== 0) ctx.skip('needs root, to become somebody else')
    await notes.put('a', { text: 'one' })
    await chmod(fixture.place, 0o700)
    process.seteuid?.(65_534)
    try {
      const denied = { code: 'permission_denied', reason: 'registry_permission' }
      await expect(notes.get('a')).rejects.toMatchObject(denied)
      await expect(notes.list()).rejects.toMatchObject(denied)
      await expect(notes.put('b', { text: 'x' })).rejects.toMatchObject(denied)
      await expect(FileRegistry.open(fixture.place)).rejects.toMatchObject(denied)
    } finally {
      process.seteuid?.(0)
    }
  })

  it('of one entry without permission are skipped, the others listed', async (ctx) => {
    if (process.geteuid?.() !== 0) ctx.skip('needs root, to become somebody else')
    await notes.put('open', { text: 'open' })
    await notes.put('closed', { text: 'closed' })
    await chmod(fixture.place, 0o755)
    await chmod(folder, 0o755)
    await chmod(base('open'), 0o644)
    process.seteuid?.(65_534)
    try {
      const listing = await notes.list()
      expect(listing.entries.map((entry) => entry.id)).toEqual(['open'])
      expect(listing.skipped).toMatchObject([{ file: `${stemOf('closed')}.json`, reason: 'unreadable' }])
      await expect(notes.get('closed')).rejects.toMatchObject({ code: 'permission_denied' })
    } finally {
      process.seteuid?.(0)
    }
  })

  it('are found one by one where the folder cannot even be listed', async (ctx) => {
    if (process.geteuid?.() !== 0) ctx.skip('needs root, to become somebody else')
    await notes.put('a', { text: 'one' })
    await chmod(base('a'), 0o644)
    for (const path of [fixture.place, folder]) await chmod(path, 0o711)
    process.seteuid?.(65_534)
    try {
      expect((await notes.get('a'))?.value.text).toBe('one')
      expect(await notes.get('b')).toBeUndefined()
      await expect(notes.list()).rejects.toMatchObject({ code: 'permission_denied', facts: { errno: 'EACCES' } })
    } finally {
      process.seteuid?.(0)
    }
  })

  it('that vanish with their whole registry are an error, not an empty list', async () => {
    await rm(fixture.place, { recursive: true })
    await expect(notes.list()).rejects.toMatchObject({ code: 'unavailable', reason: 'registry_io' })
    await expect(notes.get('a')).rejects.toMatchObject({ code: 'unavailable', reason: 'registry_io' })
  })

  describe('left by a writer that was killed', () => {
    it('after taking the slot are published by the next reader', async () => {
      await notes.put('a', { text: 'one' })
      await plantSuccessor('a', await nonceOf('a'), 2)
      expect(await notes.get('a')).toEqual({ id: 'a', version: 2, value: { text: 'planted' } })
      expect(await readdir(folder)).toEqual([`${stemOf('a')}.json`])
    })

    it('after taking the slot are published by the next writer, which builds on them', async () => {
      await notes.put('a', { text: 'one' })
      await plantSuccessor('a', await nonceOf('a'), 2)
      expect(await notes.update('a', (note) => ({ text: `${note.text}!` }))).toMatchObject({
        version: 3,
        value: { text: 'planted!' },
      })
    })

    it('after taking the slot are published by a list', async () => {
      await notes.put('a', { text: 'one' })
      await plantSuccessor('a', await nonceOf('a'), 2)
      expect((await notes.list()).entries).toMatchObject([{ version: 2 }])
    })

    it('in the slot of a version that is gone are void', async () => {
      await notes.put('a', { text: 'one' })
      const gone = await nonceOf('a')
      await notes.put('a', { text: 'two' })
      const { draft, slot } = await plantSuccessor('a', gone, 2)
      expect((await notes.get('a'))?.value.text).toBe('two')
      expect((await notes.put('a', { text: 'three' })).version).toBe(3)
      await age(draft, 2 * HOUR)
      expect(await registry.sweep()).toEqual({ leftovers: 2, tombstones: 0, failed: [] })
      await expect(stat(slot)).rejects.toThrow('ENOENT')
      expect((await notes.get('a'))?.value.text).toBe('three')
    })

    it('are swept by the gateway only, however old they are', async () => {
      await notes.put('a', { text: 'one' })
      const { draft, slot } = await plantSuccessor('a', newNonce(), 2)
      await age(draft, 100 * DAY)
      const another = (await FileRegistry.open(fixture.place)).kind<Note>('notes')
      await another.update('a', () => ({ text: 'two' }))
      await another.put('b', { text: 'b' })
      await another.remove('b')
      await another.list()
      expect((await stat(draft)).ino).toBe((await stat(slot)).ino)
    })

    it('and damaged do not keep anybody from reading, and are named to who would write', async () => {
      await notes.put('a', { text: 'one' })
      await notes.put('b', { text: 'one' })
      const { draft, slot } = await plantSuccessor('a', await nonceOf('a'), 2)
      await truncate(slot, 10)
      expect((await notes.get('a'))?.value.text).toBe('one')
      expect((await notes.list()).entries.map((entry) => entry.id)).toEqual(['a', 'b'])
      await expect(notes.put('a', { text: 'two' })).rejects.toMatchObject({
        reason: 'entry_unreadable',
        facts: { path: slot, skip: 'corrupt' },
      })
      await age(draft, 2 * HOUR)
      expect((await stat(slot)).size).toBe(10)
    })

    it('before taking the slot are swept by age, never earlier', async () => {
      await notes.put('a', { text: 'one' })
      const { draft, slot } = await plantSuccessor('a', newNonce(), 2)
      await rm(slot)
      expect(await registry.sweep()).toEqual({ leftovers: 0, tombstones: 0, failed: [] })
      await age(draft, 2 * HOUR)
      expect(await registry.sweep()).toEqual({ leftovers: 1, tombstones: 0, failed: [] })
      expect(await readdir(folder)).toEqual([`${stemOf('a')}.json`])
    })

    it('and could still be published are published by the sweep, not swept', async () => {
      await notes.put('a', { text: 'one' })
      const { draft } = await plantSuccessor('a', await nonceOf('a'), 2)
      await age(draft, 2 * HOUR)
      await registry.sweep()
      expect(JSON.parse(await readFile(base('a'), 'utf8'))).toMatchObject({ version: 2 })
    })
  })

  it('that cannot be swept are named, and keep no other from being swept', async () => {
    for (const id of ['a', 'b']) await notes.put(id, { text: 'one' })
    await registry.kind<Note>('others').put('c', { text: 'one' })
    const leftovers: string[] = []
    for (const id of ['a', 'b']) {
      const { draft, slot } = await plantSuccessor(id, newNonce(), 2)
      await rm(slot)
      await age(draft, 2 * HOUR)
      leftovers.push(draft)
    }
    await truncate(base('a'), 3)
    await registry.kind<Note>('others').remove('c')
    const swept = await registry.sweep(Date.now() + 8 * DAY)
    expect(swept).toMatchObject({ leftovers: 1, tombstones: 1, failed: [{ path: leftovers[0] }] })
    await expect(stat(leftovers[1] ?? '')).rejects.toThrow('ENOENT')
    expect((await stat(base('a'))).size).toBe(3)
  })

  describe('of removed entries', () => {
    it('are forgotten after 7 days, and the id can be created anew', async () => {
      await notes.put('a', { text: 'one' })
      await notes.remove('a')
      expect(await registry.sweep(Date.now() + 6 * DAY)).toEqual({ leftovers: 0, tombstones: 0, failed: [] })
      expect(await registry.sweep(Date.now() + 8 * DAY)).toEqual({ leftovers: 0, tombstones: 1, failed: [] })
      expect(await readdir(folder)).toEqual([])
      expect(await notes.put('a', { text: 'new' }, { expect: 'absent' })).toMatchObject({ version: 1 })
    })

    it('are still forgotten when the sweep before was killed in the middle', async () => {
      await notes.put('a', { text: 'one' })
      await notes.remove('a')
      await plantSuccessor('a', await nonceOf('a'), 3, { removedAt: Date.now(), purge: true })
      expect(await notes.get('a')).toBeUndefined()
      await registry.sweep(Date.now() + 8 * DAY)
      expect((await readdir(folder)).filter((name) => !name.endsWith('.new'))).toEqual([])
      expect((await notes.put('a', { text: 'new' })).version).toBe(1)
    })

    it('keep an id that is created anew while they are swept', async () => {
      for (let round = 0; round < 20; round++) {
        const id = `id-${round}`
        await notes.put(id, { text: 'one' })
        await notes.remove(id)
        const [, put] = await Promise.all([registry.sweep(Date.now() + 8 * DAY), notes.put(id, { text: 'new' })])
        expect(await notes.get(id)).toEqual(put)
      }
    })
  })
})
