import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFile,
  link,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { FileRegistry } from './file-registry.ts'
import { encodeRecord, newNonce, RECORD_SCHEMA } from './record.ts'
import type { Store } from './store.ts'

const MiB = 1024 ** 2

interface Note {
  text: string
}

const FULL = { code: 'resource_exhausted', reason: 'disk_full', facts: { errno: 'ENOSPC' } }

describe('registry on a small file system', () => {
  let mount: string
  let place: string

  beforeEach(async () => {
    mount = await mkdtemp(join(tmpdir(), 'coppice-registry-mount-'))
    place = join(mount, 'registry')
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k,nr_inodes=40', 'tmpfs', mount])
  })
  afterEach(async () => {
    execFileSync('umount', ['--lazy', mount])
    await rm(mount, { recursive: true })
  })

  it('that is full keeps the old entry, says so, and works again when there is room', async () => {
    const notes = (await FileRegistry.open(place)).kind<Note>('notes')
    await notes.put('a', { text: 'old' })
    const filler = join(mount, 'filler')
    await writeFile(filler, Buffer.alloc(1024 * 1024)).catch(() => undefined)
    await expect(notes.put('a', { text: 'x'.repeat(20_000) })).rejects.toMatchObject(FULL)
    await expect(notes.update('a', () => ({ text: 'x'.repeat(20_000) }))).rejects.toMatchObject(FULL)
    expect(await notes.get('a')).toEqual({ id: 'a', version: 1, value: { text: 'old' } })
    await rm(filler)
    expect((await notes.put('a', { text: 'new' })).version).toBe(2)
    expect(await readdir(join(place, 'notes'))).toHaveLength(1)
  })

  it('that has no inode left keeps every entry, says so, and loses nothing it had said was there', async () => {
    const notes = (await FileRegistry.open(place)).kind<Note>('notes')
    const kept: string[] = []
    const fill = async () => {
      for (let i = 0; i < 60; i++) {
        await notes.put(`n${i}`, { text: String(i) })
        kept.push(`n${i}`)
      }
    }
    await expect(fill()).rejects.toMatchObject(FULL)
    expect(kept.length).toBeGreaterThan(10)
    await expect(notes.remove('n0')).rejects.toMatchObject(FULL)
    const listing = await notes.list()
    expect(listing.entries.map((entry) => entry.id)).toEqual(kept.sort())
    expect(listing.skipped).toEqual([])
    expect(await readdir(join(place, 'notes'))).toHaveLength(kept.length)
  })

  it('that is read-only can be read, and says why it cannot be written', async () => {
    const registry = await FileRegistry.open(place)
    const notes = registry.kind<Note>('notes')
    await notes.put('a', { text: 'old' })
    execFileSync('mount', ['-o', 'remount,ro', mount])
    const readOnly = { code: 'unavailable', reason: 'registry_io', facts: { errno: 'EROFS' } }
    await expect(notes.put('a', { text: 'new' })).rejects.toMatchObject(readOnly)
    await expect(notes.update('a', () => ({ text: 'new' }))).rejects.toMatchObject(readOnly)
    await expect(notes.remove('a')).rejects.toMatchObject(readOnly)
    await expect(registry.kind<Note>('others').put('b', { text: 'b' })).rejects.toMatchObject(readOnly)
    expect((await notes.list()).entries).toMatchObject([{ id: 'a', value: { text: 'old' } }])
  })

  it('that became read-only in the middle of an update still gives what was there before it', async () => {
    const notes = (await FileRegistry.open(place)).kind<Note>('notes')
    await notes.put('a', { text: 'old' })
    const stem = join(place, 'notes', createHash('sha256').update('a').digest('hex'))
    const { nonce: parent } = JSON.parse(await readFile(`${stem}.json`, 'utf8')) as { nonce: string }
    const nonce = newNonce()
    const next = { schema: RECORD_SCHEMA, kind: 'notes', id: 'a', version: 2, nonce, value: { text: 'new' } }
    await writeFile(`${stem}.${nonce}.new`, encodeRecord(next))
    await link(`${stem}.${nonce}.new`, `${stem}.${parent}.next`)
    execFileSync('mount', ['-o', 'remount,ro', mount])
    expect((await notes.get('a'))?.value.text).toBe('old')
    expect((await notes.list()).entries).toMatchObject([{ version: 1, value: { text: 'old' } }])
    execFileSync('mount', ['-o', 'remount,rw', mount])
    expect((await notes.get('a'))?.value.text).toBe('new')
  })
})

describe.each(['tmpfs', 'ext4'])('registry on a disk of 8 MiB (%s) that is full to the last byte', (kind) => {
  let dir: string
  let mount: string
  let registry: FileRegistry
  let notes: Store<Note>

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-registry-full-'))
    mount = join(dir, 'mount')
    await mkdir(mount)
    if (kind === 'tmpfs') execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', mount])
    else {
      await writeFile(join(dir, 'disk'), '')
      await truncate(join(dir, 'disk'), 8 * MiB)
      execFileSync('mkfs.ext4', ['-q', '-m', '0', '-O', '^inline_data', join(dir, 'disk')])
      execFileSync('mount', ['-o', 'loop', join(dir, 'disk'), mount])
    }
    registry = await FileRegistry.open(join(mount, 'registry'))
    notes = registry.kind<Note>('notes')
    for (let i = 0; i < 30; i++) await notes.put(`n${i}`, { text: String(i) })
  })
  afterEach(async () => {
    // Lazily: the reserve may be in the middle of being written.
    execFileSync('umount', ['--lazy', mount])
    await rm(dir, { recursive: true })
  })

  const fill = async () => {
    const file = await open(join(mount, 'filler'), 'w')
    for (const size of [65536, 4096, 1]) {
      const piece = Buffer.alloc(size, 1)
      while ((await file.write(piece).catch(() => undefined))?.bytesWritten === size);
    }
    await file.close()
  }
  const reserve = () => stat(join(mount, 'registry', 'reserve')).then(({ size }) => size)

  it('takes removals, and ends that are written down, from its reserve, many at once, and nothing new', async () => {
    await registry.sweep()
    expect(await reserve()).toBe(MiB)
    await fill()
    await expect(notes.put('new', { text: 'new' })).rejects.toMatchObject(FULL)
    await expect(notes.update('n0', () => ({ text: 'x'.repeat(9_000) }))).rejects.toMatchObject(FULL)
    expect(await reserve()).toBe(MiB)
    const removed = Array.from({ length: 15 }, (_, i) => notes.remove(`n${i}`))
    const ended = Array.from({ length: 15 }, (_, i) =>
      notes.update(`n${15 + i}`, () => ({ text: 'x'.repeat(9_000) }), { reserve: true }),
    )
    expect(new Set(await Promise.all(removed))).toEqual(new Set([true]))
    await Promise.all(ended)
    const { entries, skipped } = await notes.list()
    expect(entries.map(({ value }) => value.text.length)).toEqual(Array(15).fill(9_000))
    expect(skipped).toEqual([])
    expect(await readdir(join(mount, 'registry', 'notes'))).toHaveLength(30)
  })

  it('has its reserve again when there is room, however that came', async () => {
    await registry.sweep()
    await fill()
    await notes.remove('n0')
    await expect(reserve()).rejects.toMatchObject({ code: 'ENOENT' })
    await rm(join(mount, 'filler'))
    await expect.poll(() => reserve().catch(() => 0)).toBe(MiB)
    await fill()
    expect(await notes.remove('n1')).toBe(true)
    await rm(join(mount, 'filler'))
    await notes.put('new', { text: 'new' })
    expect(await reserve()).toBe(MiB)
  })

  it('has no reserve where it was full from the beginning, and gets it later', async () => {
    await fill()
    await registry.sweep()
    await expect(reserve()).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(notes.remove('n0')).rejects.toMatchObject(FULL)
    await rm(join(mount, 'filler'))
    await expect.poll(() => reserve().catch(() => 0)).toBe(MiB)
  })
})

describe('registry on a disk that fails', () => {
  it('tells an input/output error apart from an absent entry and from an empty registry', async (ctx) => {
    const dir = await mkdtemp(join(tmpdir(), 'coppice-registry-disk-'))
    const image = join(dir, 'disk')
    const mount = join(dir, 'mount')
    let mounted = false
    const attach = (file: string) => {
      execFileSync('mount', ['-o', 'loop', file, mount])
      mounted = true
    }
    const detach = () => {
      if (mounted) execFileSync('umount', [mount])
      mounted = false
    }
    /** A copy that has never been mounted, so that nothing of it is in memory, and that loses its end when it is. */
    const attachDamaged = async (left: number) => {
      detach()
      const copy = `${image}.${left}`
      await copyFile(image, copy)
      attach(copy)
      await truncate(copy, left)
    }
    try {
      await writeFile(image, '')
      await truncate(image, 16 * 1024 * 1024)
      await mkdir(mount)
      try {
        execFileSync('mkfs.ext4', ['-q', '-O', '^has_journal,^inline_data', image])
        attach(image)
      } catch (error) {
        return ctx.skip(`no file system can be made in a file here: ${error}`)
      }
      const registry = await FileRegistry.open(join(mount, 'registry'))
      const notes = registry.kind<Note>('notes')
      // Wider than a block each, so that some of it lies in the part of the disk that goes away.
      for (let i = 0; i < 200; i++) await notes.put(`n${i}`, { text: 'x'.repeat(40_000) })
      execFileSync('sync', ['--file-system', mount])
      await attachDamaged(4 * 1024 * 1024)
      const listing = await notes.list()
      const unreadable = listing.skipped.filter((skipped) => skipped.reason === 'unreadable')
      expect(unreadable.length).toBeGreaterThan(0)
      expect(unreadable[0]?.detail).toContain('EIO')
      expect(listing.entries.length + unreadable.length).toBe(200)
      const good = new Set(listing.entries.map((entry) => entry.id))
      const bad = Array.from({ length: 200 }, (_, i) => `n${i}`).find((id) => !good.has(id)) ?? ''
      await expect(notes.get(bad)).rejects.toMatchObject({ code: 'unavailable', facts: { errno: 'EIO' } })
      await attachDamaged(0)
      await expect(notes.list()).rejects.toMatchObject({ code: 'unavailable', facts: { errno: 'EIO' } })
      await expect(notes.get('n0')).rejects.toMatchObject({ code: 'unavailable', facts: { errno: 'EIO' } })
    } finally {
      detach()
      await rm(dir, { recursive: true, force: true })
    }
  })
})
