import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readTar } from './tar-reader.ts'

let dir: string
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tar-'))
  mkdirSync(join(dir, 'in'))
})
afterEach(() => rmSync(dir, { recursive: true }))

async function entriesOf(archive: Buffer, chunkBytes = 777) {
  const entries: { name: string; type: string; content: string; link: string; mode: number; size: number }[] = []
  async function* chunks() {
    for (let at = 0; at < archive.length; at += chunkBytes) yield archive.subarray(at, at + chunkBytes)
  }
  for await (const entry of readTar(chunks())) {
    const parts: Buffer[] = []
    for await (const chunk of entry.content()) parts.push(chunk)
    const { type, mode, size } = entry
    const content = Buffer.concat(parts).toString()
    entries.push({ name: entry.name.toString(), type, content, link: entry.link.toString(), mode, size })
  }
  return entries
}

const pack = (...args: string[]) => execFileSync('tar', ['-C', join(dir, 'in'), ...args, '-cf', '-', '.'])

test.each(['gnu', 'pax', 'ustar', 'v7'])('archives of format %s', async (format) => {
  const long = `${'d'.repeat(60)}/${'n'.repeat(60)}`
  if (format !== 'v7') {
    mkdirSync(join(dir, 'in', 'd'.repeat(60)))
    writeFileSync(join(dir, 'in', long), 'long')
  }
  writeFileSync(join(dir, 'in', 'file'), 'x'.repeat(1000), { mode: 0o750 })
  symlinkSync('file', join(dir, 'in', 'link'))
  mkdirSync(join(dir, 'in', 'empty'))
  const entries = await entriesOf(pack(`--format=${format}`))
  const find = (name: string) => entries.find((entry) => entry.name === name)
  expect(find('./file')).toMatchObject({ type: 'file', content: 'x'.repeat(1000), mode: 0o750 })
  expect(find('./link')).toMatchObject({ type: 'symlink', link: 'file' })
  expect(find('./empty/')).toMatchObject({ type: 'directory' })
  if (format !== 'v7') expect(find(`./${long}`)).toMatchObject({ content: 'long' })
})

test('names longer than a header holds, and link targets too', async () => {
  const name = 'n'.repeat(250)
  writeFileSync(join(dir, 'in', name), 'x')
  symlinkSync('t'.repeat(300), join(dir, 'in', 'link'))
  for (const format of ['gnu', 'pax']) {
    const entries = await entriesOf(pack(`--format=${format}`))
    expect(entries.map((entry) => entry.name)).toContain(`./${name}`)
    expect(entries.find((entry) => entry.name === './link')?.link).toBe('t'.repeat(300))
  }
})

test('a size beyond 8 GiB is read, in both ways of writing it', async () => {
  writeFileSync(join(dir, 'in', 'big'), '')
  truncateSync(join(dir, 'in', 'big'), 9 * 1024 ** 3)
  for (const format of ['gnu', 'pax']) {
    const head = execFileSync('sh', ['-c', `tar -C ${dir}/in --format=${format} -cf - big | head -c 20000`])
    async function* source() {
      yield head
    }
    for await (const entry of readTar(source())) {
      expect(entry.size).toBe(9 * 1024 ** 3)
      break
    }
  }
})

test('an archive that ends in the middle, and one that is none', async () => {
  writeFileSync(join(dir, 'in', 'file'), 'x'.repeat(100_000))
  const archive = pack()
  await expect(entriesOf(archive.subarray(0, 50_000))).rejects.toMatchObject({ reason: 'truncated_archive' })
  await expect(entriesOf(Buffer.alloc(2000, 'garbage'))).rejects.toMatchObject({ reason: 'malformed_archive' })
  await expect(entriesOf(Buffer.alloc(0))).rejects.toMatchObject({ reason: 'truncated_archive' })
})

test('content that nobody reads is skipped', async () => {
  writeFileSync(join(dir, 'in', 'a'), 'x'.repeat(10_000))
  writeFileSync(join(dir, 'in', 'b'), 'y')
  async function* source() {
    yield pack()
  }
  const names: string[] = []
  for await (const entry of readTar(source())) names.push(entry.name.toString())
  expect(names.sort()).toEqual(['./', './a', './b'])
})
