import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ARCHIVE_TAIL_BYTES, type ArchivePrint, Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { bigDockerArchive } from '../testing/big-docker-archive.ts'
import { buildTar } from '../testing/tar-builder.ts'
import type { ImportStreamOptions } from './imports.ts'

const none = Progress.none()
const MiB = 1024 ** 2
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const archive = Buffer.concat([
  ...bigDockerArchive({ layers: 2, layerBytes: 5 * MiB, name: 'big:1', seeds: ['a', 'b'] }),
])
const rootfs = buildTar([
  { name: 'a', body: Buffer.alloc(6 * MiB, 'a') },
  { name: 'b', body: Buffer.alloc(6 * MiB, 'b') },
])

let dir: string
let store: ImageStore
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'coppice-known-'))
  store = await ImageStore.open(dir)
})
afterEach(() => rm(dir, { recursive: true }))

async function* pieces(bytes: Buffer) {
  for (let at = 0; at < bytes.length; at += 77_777) yield bytes.subarray(at, at + 77_777)
}
const bring = (bytes: Buffer, options: ImportStreamOptions = {}) =>
  store.importStream(pieces(bytes), { sizeBytes: bytes.length, remember: true, ...options }, none)
const printOf = (bytes: Buffer): ArchivePrint => ({
  digest: `sha256:${sha256(bytes)}`,
  size: bytes.length,
  tail: sha256(bytes.subarray(-ARCHIVE_TAIL_BYTES)),
})
const ask = (bytes: Buffer, options: ImportStreamOptions = {}) => store.known(printOf(bytes), options, none)

it('an archive is known by its bytes, under the name that another import would give it', async () => {
  expect(await store.mayBeKnown(printOf(archive))).toBe(false)
  expect(await ask(archive)).toBeUndefined()
  const { transferred, ...image } = await bring(archive, { name: 'mine' })
  store = await ImageStore.open(dir)
  expect(await store.mayBeKnown(printOf(archive))).toBe(true)
  expect(await ask(archive)).toMatchObject({ name: 'big:1', digest: image.digest, sizeBytes: image.sizeBytes })
  expect(await ask(archive, { name: 'other', fallbackName: 'file' })).toMatchObject({ name: 'other' })
  const names = (await store.list()).images.map(({ name }) => name)
  expect(names).toEqual(['big:1', 'mine', 'other'])
})

it('an archive without a name in it is called as it would be by an import', async () => {
  await bring(rootfs, { name: 'mine' })
  expect(await ask(rootfs, { fallbackName: 'file' })).toMatchObject({ name: 'file' })
})

it('an archive that differs in one byte of its middle alone is not taken for the old one', async () => {
  await bring(rootfs, { name: 'app' })
  const changed = Buffer.from(rootfs)
  changed[MiB] = 'x'.charCodeAt(0)
  expect(await store.mayBeKnown(printOf(changed))).toBe(true)
  expect(await ask(changed)).toBeUndefined()
})

it.each<[string, ImportStreamOptions]>([
  ['format', { format: 'rootfs' }],
  ['ref', { ref: '@0' }],
  ['platform', { platform: 'linux/s390x' }],
  ['config', { config: { env: { A: '1' }, cwd: '/', user: '', entrypoint: [], cmd: [], labels: {} } }],
])('what was taken out of it counts too: another %s', async (_, options) => {
  await bring(archive)
  expect(await ask(archive)).toBeDefined()
  expect(await ask(archive, options)).toBeUndefined()
})

it('goes with its image, and not before its last name', async () => {
  await bring(archive, { name: 'a' })
  await ask(archive, { name: 'b' })
  await store.remove('a')
  expect(await ask(archive, { name: 'c' })).toBeDefined()
  await store.remove('b')
  await store.remove('c')
  expect(await store.mayBeKnown(printOf(archive))).toBe(false)
  expect(await ask(archive)).toBeUndefined()
})

it('of an image that lacks a part is not trusted, and brings it back when it comes again', async () => {
  const { digest } = await bring(archive)
  const { manifest } = await store.resolve(digest)
  const blob = (id: string) => join(dir, 'blobs/sha256', id.slice('sha256:'.length))
  const [first, second] = manifest.layers.map((layer) => blob(layer.digest))
  for (const damage of [
    () => rm(first ?? ''),
    () => truncate(second ?? '', 100),
    () => rm(blob(manifest.config.digest)),
  ]) {
    await damage()
    expect(await ask(archive)).toBeUndefined()
    await bring(archive)
    expect(await ask(archive)).toMatchObject({ digest })
  }
})

it.each<[string, () => Promise<unknown>]>([
  ['was longer than it said', () => bring(archive, { sizeBytes: archive.length - 512 })],
  ['is so small that it is sent as soon', () => bring(buildTar([{ name: 'a', body: 'a' }]))],
  ['came without its size', () => store.importStream(pieces(archive), { remember: true }, none)],
  ['nobody asked to remember', () => store.importStream(pieces(archive), { sizeBytes: archive.length }, none)],
])('an archive is not remembered that %s', async (_, work) => {
  await work().catch(() => undefined)
  expect(await readFile(join(dir, 'index.json'), 'utf8')).not.toContain('archives')
})

it('what cannot be read of what was remembered is nothing', async () => {
  await bring(archive)
  const path = join(dir, 'index.json')
  const index = JSON.parse(await readFile(path, 'utf8'))
  for (const text of ['{', '[{"digest":7}]', 'null']) {
    index.manifests[0].annotations['dev.coppice.image.archives'] = text
    await writeFile(path, JSON.stringify(index))
    expect(await store.mayBeKnown(printOf(archive))).toBe(false)
    expect(await ask(archive)).toBeUndefined()
  }
  expect((await bring(archive)).transferred).toEqual({ bytes: 0, blobs: 0 })
  expect(await ask(archive)).toBeDefined()
})

it('many archives of one image are remembered up to a number, the latest ones', async () => {
  const packed = Array.from({ length: 12 }, (_, at) => Buffer.concat([archive, Buffer.alloc(512 * at)]))
  for (const bytes of packed) await bring(bytes, { name: 'app' })
  const known = await Promise.all(packed.map((bytes) => store.mayBeKnown(printOf(bytes))))
  expect(known.filter(Boolean)).toHaveLength(8)
  expect(known.at(-1)).toBe(true)
})
