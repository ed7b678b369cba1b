import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { buildTar, type TestEntry } from '../testing/tar-builder.ts'
import { BLOCK, encodeHeader } from './header.ts'
import { MAX_META_BYTES, type TarEntry, TarScanner } from './scanner.ts'

/** Scans `archive` in pieces of `chunkBytes`; entries whose name is in `drop` go. */
function scan(archive: Buffer, chunkBytes = archive.length, drop: string[] = []) {
  const entries: TarEntry[] = []
  const scanner = new TarScanner((entry) => {
    entries.push(entry)
    return drop.includes(entry.name) ? 'drop' : 'keep'
  })
  const out: Buffer[] = []
  for (let at = 0; at < archive.length; at += chunkBytes) {
    out.push(...scanner.push(archive.subarray(at, at + chunkBytes)).map((slice) => Buffer.from(slice)))
  }
  out.push(scanner.finish())
  return { entries, bytes: Buffer.concat(out) }
}

const names = (entries: TarEntry[]) => entries.map((entry) => entry.name)

describe('tar scanner', () => {
  const mixed: TestEntry[] = [
    { name: './', type: '5' },
    { name: 'a', body: 'x'.repeat(700) },
    {
      name: 'short',
      pax: { path: `d/${'l'.repeat(300)}`, 'SCHILY.xattr.user.x': Buffer.from([0, 255, 10, 61]) },
      body: 'y',
    },
    { name: 'b', type: '2', linkName: 'a' },
    { name: 'c', body: Buffer.alloc(BLOCK, 1) },
    { name: 'e', body: '' },
  ]

  it.each([1, 7, 511, 512, 513, 1000, 4096, 1 << 20])(
    'passes on every byte unchanged in chunks of %i',
    (chunkBytes) => {
      const archive = buildTar(mixed)
      const { bytes, entries } = scan(archive, chunkBytes)
      expect(bytes.equals(archive)).toBe(true)
      expect(names(entries)).toEqual(['./', 'a', `d/${'l'.repeat(300)}`, 'b', 'c', 'e'])
    },
  )

  it.each([1, 513, 1 << 20])(
    'drops an entry with the headers in front of it and its body, in chunks of %i',
    (chunkBytes) => {
      const long = `d/${'l'.repeat(300)}`
      const kept = mixed.filter((entry) => entry.name !== 'short' && entry.name !== 'a')
      expect(scan(buildTar(mixed), chunkBytes, [long, 'a']).bytes.equals(buildTar(kept))).toBe(true)
    },
  )

  it('ends at the first block of zeros, whatever stands behind it', () => {
    const archive = buildTar([{ name: 'a', body: 'x' }])
    const hidden = Buffer.concat([archive, buildTar([{ name: 'hidden' }])])
    expect(names(scan(hidden).entries)).toEqual(['a'])
    expect(scan(hidden).bytes.equals(archive)).toBe(true)
  })

  it('takes an archive that ends without blocks of zeros', () => {
    expect(names(scan(buildTar([{ name: 'a', body: 'x' }], { end: false })).entries)).toEqual(['a'])
  })

  it('reads what GNU tar writes: long names, long links, sparse files', () => {
    const dir = mkdtempSync(join(tmpdir(), 'coppice-scanner-'))
    try {
      const long = 'n'.repeat(200)
      writeFileSync(join(dir, long), 'x')
      symlinkSync('t'.repeat(300), join(dir, 'link'))
      writeSparse(join(dir, 'sparse'))
      for (const format of ['gnu', 'pax']) {
        const archive = execFileSync('tar', [`--format=${format}`, '--sparse', '-cf', '-', '-C', dir, '.'], {
          maxBuffer: 1 << 26,
        })
        for (const chunkBytes of [777, archive.length]) {
          const { entries, bytes } = scan(archive, chunkBytes)
          expect(names(entries).sort()).toEqual(['./', './link', `./${long}`, './sparse'])
          expect(entries.find((entry) => entry.type === '2')?.linkName).toBe('t'.repeat(300))
          expect(bytes.equals(archive.subarray(0, bytes.length))).toBe(true)
        }
      }
    } finally {
      rmSync(dir, { recursive: true })
    }
  })

  it('reads sizes over 8 GiB in base 256', () => {
    const size = 9 * 1024 ** 3
    const scanner = new TarScanner((entry) => {
      expect(entry).toMatchObject({ name: 'big', size })
      return 'keep'
    })
    scanner.push(encodeHeader({ name: 'big', type: '0', size }))
    expect(() => scanner.finish()).toThrow(expect.objectContaining({ reason: 'archive_truncated' }))
  })

  it.each<[string, Buffer, string]>([
    ['is no tar', Buffer.from('hello'.repeat(500)), 'not_an_archive'],
    ['has nothing in it', Buffer.alloc(10 * BLOCK), 'archive_empty'],
    ['is no byte long', Buffer.alloc(0), 'archive_empty'],
    ['is cut off in a header', buildTar([{ name: 'a' }], { end: false }).subarray(0, 300), 'archive_truncated'],
    ['is cut off in a body', buildTar([{ name: 'a', body: 'x'.repeat(2000) }]).subarray(0, 1500), 'archive_truncated'],
    [
      'is cut off behind a pax header',
      buildTar([{ name: 'a', pax: { path: 'b' } }]).subarray(0, 1024),
      'archive_truncated',
    ],
    [
      'has a pax header of 2 MiB',
      buildTar([{ name: 'p', type: 'x', size: 2 * MAX_META_BYTES }]),
      'archive_header_too_large',
    ],
    [
      'has a long name of 2 MiB',
      buildTar([{ name: 'p', type: 'L', size: 2 * MAX_META_BYTES }]),
      'archive_header_too_large',
    ],
    ['has a body on a folder', buildTar([{ name: 'd/', type: '5', body: 'x' }]), 'archive_malformed'],
    ['has a body on a hard link', buildTar([{ name: 'd', type: '1', linkName: 'a', body: 'x' }]), 'archive_malformed'],
    ['has a body on a symlink by pax', buildTar([{ name: 'd', type: '2', pax: { size: '512' } }]), 'archive_malformed'],
    ['has an impossible pax size', buildTar([{ name: 'd', pax: { size: '-1' } }]), 'archive_malformed'],
    ['has a pax record without end', buildTar([{ name: 'x', type: 'x', body: '99 path=a\n' }]), 'archive_malformed'],
    ['has a pax record of length 0', buildTar([{ name: 'x', type: 'x', body: '0 path=a\n' }]), 'archive_malformed'],
    ['names everything at once', buildTar([{ name: 'g', type: 'g', body: '10 path=a\n' }]), 'archive_malformed'],
    ['has an unknown type', buildTar([{ name: 'm', type: 'M' }]), 'archive_unsupported_entry'],
    [
      'has two pax headers for one entry',
      buildTar([
        { name: 'x', type: 'x', body: '10 path=a\n' },
        { name: 'a', pax: { path: 'b' } },
      ]),
      'archive_malformed',
    ],
  ])('refuses an archive that %s', (_, archive, reason) => {
    expect(() => scan(archive)).toThrow(expect.objectContaining({ code: 'invalid_argument', reason }))
  })
})

/** 30 pieces of data far apart: more than fit the map in an old GNU header. */
function writeSparse(path: string): void {
  const file = openSync(path, 'w')
  for (let i = 0; i < 30; i++) writeSync(file, 'x', 1_000_000 * i)
  closeSync(file)
}
