import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { encodeHeader, padding } from './header.ts'
import { pack } from './pack.ts'
import { unpack } from './unpack.ts'

let base: string
let from: string
let to: string

beforeEach(() => {
  base = fs.mkdtempSync(join(tmpdir(), 'coppice-tar-'))
  from = join(base, 'from')
  to = join(base, 'to')
  fs.mkdirSync(from)
  fs.mkdirSync(to)
})
afterEach(() => fs.rmSync(base, { recursive: true }))

const NOT_UTF8 = Buffer.from([0x6e, 0xff, 0xfe])

/** A folder with everything that a tar must carry. */
function makeTree(): void {
  fs.mkdirSync(join(from, 'empty'))
  fs.mkdirSync(join(from, 'sealed'))
  fs.writeFileSync(join(from, 'sealed', 'inside'), 'x')
  fs.chmodSync(join(from, 'sealed'), 0o555)
  fs.writeFileSync(join(from, 'program'), '#!/bin/sh\n', { mode: 0o755 })
  fs.writeFileSync(join(from, 'big'), randomBytes(3_000_001))
  fs.writeFileSync(join(from, 'zero'), '')
  fs.symlinkSync('../outside', join(from, 'link'))
  fs.symlinkSync('x'.repeat(300), join(from, 'long link'))
  fs.linkSync(join(from, 'big'), join(from, 'same as big'))
  fs.writeFileSync(join(from, `${'long'.repeat(50)}.txt`), 'long name')
  fs.mkdirSync(join(from, 'deep', ...Array.from({ length: 20 }, () => 'folder')), { recursive: true })
  fs.writeFileSync(Buffer.concat([Buffer.from(`${from}/`), NOT_UTF8]), 'odd name')
  fs.utimesSync(join(from, 'program'), 1_000_000_000, 1_000_000_000)
}

/** Everything that can be told about a folder, as text. */
function describeTree(root: string): string {
  const format = '%P %y %m %s %l %n\\n'
  const list = execFileSync('find', [
    root,
    '-mindepth',
    '1',
    '-type',
    'd',
    '-printf',
    '%P %y %m\\n',
    '-o',
    '-printf',
    format,
  ])
  const sums = execFileSync('sh', ['-c', 'find . -type f -print0 | sort -z | xargs -0 sha256sum'], { cwd: root })
  return `${list.toString('latin1').split('\n').sort().join('\n')}\n${sums.toString('latin1')}`
}

async function* chunked(bytes: Buffer, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

/** A tar of given entries. */
function archive(
  ...entries: { name: string; type?: string; link?: string; content?: string; mode?: number }[]
): Buffer {
  const parts = entries.flatMap(({ name, type = '0', link = '', content = '', mode = 0o644 }) => {
    const header = { name: Buffer.from(name), type, link: Buffer.from(link), size: content.length, mode, mtime: 0 }
    return [encodeHeader(header), Buffer.from(content), padding(content.length)]
  })
  return Buffer.concat([...parts, Buffer.alloc(1024)])
}

describe('pack and unpack', () => {
  it('give back the same folder', async () => {
    makeTree()
    await unpack(pack(from), to)
    expect(describeTree(to)).toBe(describeTree(from))
    expect(fs.statSync(join(to, 'program')).mtimeMs).toBe(1_000_000_000_000)
    expect(fs.statSync(join(to, 'big')).ino).toBe(fs.statSync(join(to, 'same as big')).ino)
  })

  it('write what GNU tar reads', async () => {
    makeTree()
    const file = join(base, 'a.tar')
    fs.writeFileSync(file, Buffer.concat(await Array.fromAsync(pack(from))))
    execFileSync('tar', ['-xf', file, '-C', to])
    expect(describeTree(to)).toBe(describeTree(from))
  })

  it.each(['gnu', 'pax', 'ustar'])('read what GNU tar writes as %s, whatever the chunks', async (format) => {
    if (format === 'ustar') {
      fs.writeFileSync(join(from, 'plain'), 'content')
      fs.mkdirSync(join(from, 'a'.repeat(90), 'b'.repeat(90)), { recursive: true })
    } else makeTree()
    const tar = execFileSync('tar', [`--format=${format}`, '-cf', '-', '-C', from, '.'], { maxBuffer: 1e8 })
    await unpack(chunked(tar, 777), to)
    expect(describeTree(to)).toBe(describeTree(from))
  })

  it('merge with what is there, replacing files', async () => {
    fs.mkdirSync(join(to, 'folder'))
    fs.writeFileSync(join(to, 'folder', 'kept'), 'kept')
    fs.writeFileSync(join(to, 'folder', 'file'), 'old')
    await unpack(chunked(archive({ name: 'folder/file', content: 'new' }), 512), to)
    expect(fs.readFileSync(join(to, 'folder', 'file'), 'utf8')).toBe('new')
    expect(fs.readFileSync(join(to, 'folder', 'kept'), 'utf8')).toBe('kept')
  })
})

describe('an archive that is not to be trusted', () => {
  const outside = () => fs.readdirSync(base).filter((name) => name !== 'from' && name !== 'to')

  it.each(['../evil', 'a/../../evil', '/../evil'])('may not name %s', async (name) => {
    const unpacking = unpack(chunked(archive({ name, content: 'x' }), 512), to)
    await expect(unpacking).rejects.toMatchObject({ reason: 'archive_escapes' })
    expect(outside()).toEqual([])
  })

  it('has its absolute names taken as relative', async () => {
    await unpack(chunked(archive({ name: '/etc/name', content: 'x' }), 512), to)
    expect(fs.readFileSync(join(to, 'etc', 'name'), 'utf8')).toBe('x')
  })

  it('may not write through a symlink, its own or one that was there', async () => {
    const own = archive({ name: 'link', type: '2', link: '..' }, { name: 'link/evil', content: 'x' })
    await expect(unpack(chunked(own, 512), to)).rejects.toMatchObject({ reason: 'in_the_way' })
    expect(outside()).toEqual([])
  })

  it('replaces a symlink that is in the way of a file, and does not follow it', async () => {
    fs.writeFileSync(join(base, 'victim'), 'safe')
    fs.symlinkSync('../victim', join(to, 'file'))
    await unpack(chunked(archive({ name: 'file', content: 'x' }), 512), to)
    expect(fs.readFileSync(join(base, 'victim'), 'utf8')).toBe('safe')
    expect(fs.readFileSync(join(to, 'file'), 'utf8')).toBe('x')
  })

  it('may not make a hard link to a file outside', async () => {
    fs.writeFileSync(join(base, 'victim'), 'safe')
    for (const link of ['../victim', join(base, 'victim')]) {
      await expect(unpack(chunked(archive({ name: 'l', type: '1', link }), 512), to)).rejects.toThrow()
    }
    const through = archive({ name: 'up', type: '2', link: '..' }, { name: 'l', type: '1', link: 'up/victim' })
    await expect(unpack(chunked(through, 512), to)).rejects.toThrow()
    expect(fs.statSync(join(base, 'victim')).nlink).toBe(1)
  })

  it('loses setuid bits and devices', async () => {
    const skipped: string[] = []
    const bytes = archive(
      { name: 'su', mode: 0o4755, content: 'x' },
      { name: 'sda', type: '4' },
      { name: 'pipe', type: '6' },
    )
    await unpack(chunked(bytes, 512), to, { onSkipped: (name) => skipped.push(name) })
    expect(fs.statSync(join(to, 'su')).mode & 0o7777).toBe(0o755)
    expect(fs.readdirSync(to)).toEqual(['su'])
    expect(skipped).toEqual(['sda', 'pipe'])
  })

  it('is not taken for whole when it was cut off anywhere', async () => {
    const bytes = archive({ name: 'a', content: 'x'.repeat(2000) }, { name: 'b' })
    for (const length of [0, 100, 512, 1000, 2560, 3072, 3300]) {
      const unpacking = unpack(chunked(bytes.subarray(0, length), 512), to)
      await expect(unpacking).rejects.toMatchObject({ reason: 'bad_archive' })
    }
  })

  it('is refused when a checksum is wrong', async () => {
    const bytes = archive({ name: 'a' })
    bytes[0] = 0x62
    await expect(unpack(chunked(bytes, 512), to)).rejects.toMatchObject({ reason: 'bad_archive' })
  })
})
