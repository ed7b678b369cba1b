import { createHash } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { buildTar, type TestEntry } from '../testing/tar-builder.ts'
import type { ImportStreamOptions } from './imports.ts'

/** A line that tells an error has to be read by clients, which take 1 MiB of one. */
const MAX_ERROR_BYTES = 16 * 1024

const none = Progress.none()
const MiB = 1024 ** 2
const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
const digestOf = (bytes: Buffer | string) => `sha256:${sha256(bytes)}`

const LAYER = buildTar([{ name: 'a', body: 'a' }])
const CONFIG = JSON.stringify({
  architecture: 'amd64',
  os: 'linux',
  rootfs: { type: 'layers', diff_ids: [digestOf(LAYER)] },
})
const types = {
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  index: 'application/vnd.oci.image.index.v1+json',
}
const descriptor = (mediaType: string, bytes: Buffer | string) => ({
  mediaType,
  digest: digestOf(bytes),
  size: Buffer.byteLength(bytes),
})
const blob = (bytes: Buffer | string): TestEntry => ({ name: `blobs/sha256/${sha256(bytes)}`, body: bytes })
const longName = (name: string, entry: TestEntry): TestEntry[] => [
  { name: '././@LongLink', type: 'L', body: name },
  entry,
]

function layout(manifests: unknown, ...blobs: TestEntry[]): Buffer {
  const index = { name: 'index.json', body: JSON.stringify({ schemaVersion: 2, manifests }) }
  return buildTar([{ name: 'oci-layout', body: '{"imageLayoutVersion":"1.0.0"}' }, index, ...blobs])
}

function image(overrides: Record<string, unknown>, ...more: TestEntry[]): Buffer {
  const config = descriptor(types.config, CONFIG)
  const manifest = JSON.stringify({ schemaVersion: 2, config, layers: [descriptor(types.layer, LAYER)], ...overrides })
  return layout([descriptor(types.manifest, manifest)], blob(manifest), blob(CONFIG), blob(LAYER), ...more)
}

function docker(manifest: unknown, ...files: TestEntry[]): Buffer {
  return buildTar([{ name: 'manifest.json', body: JSON.stringify(manifest) }, ...files])
}

/** The base-256 size of a header, and its checksum made right. */
function withSize(size: Buffer): Buffer {
  const archive = buildTar([{ name: 'manifest.json', body: '[]' }])
  size.copy(archive, 124)
  archive.write('        ', 148)
  const sum = archive.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  archive.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return archive
}

/** Indexes in one another, each a blob of its own. */
function nested(depth: number): Buffer {
  const blobs: string[] = [JSON.stringify({ schemaVersion: 2, manifests: [] })]
  for (let at = 0; at < depth; at++) {
    blobs.unshift(JSON.stringify({ schemaVersion: 2, manifests: [descriptor(types.index, blobs[0] ?? '')] }))
  }
  return layout([descriptor(types.index, blobs[0] ?? '')], ...blobs.map(blob))
}

const own = sha256('an index that names itself')
const itself = JSON.stringify({
  schemaVersion: 2,
  manifests: [{ mediaType: types.index, digest: `sha256:${own}`, size: 1 }],
})
const bigConfig = { ...descriptor(types.config, 'x'), size: 1024 * MiB }
const many = (count: number, make: (at: number) => unknown) => Array.from({ length: count }, (_, at) => make(at))

const hostile: [string, Buffer, object][] = [
  ['lists 100,000 layers', docker([{ Config: 'c', Layers: many(100_000, () => 'l') }]), { reason: 'malformed_image' }],
  [
    'lists 100,000 things that are no layers',
    docker([{ Config: 'c', Layers: many(100_000, Number) }]),
    { reason: 'malformed_image' },
  ],
  ['lists 100,000 images that are none', docker(many(9_999, () => ({ Config: 7 }))), { reason: 'malformed_image' }],
  [
    'lists 9,999 images',
    docker(many(9_999, (at) => ({ Config: 'c', RepoTags: [`x${at}:${'y'.repeat(500)}`], Layers: [] }))),
    { reason: 'several_images_in_layout' },
  ],
  [
    'names a config of 4 MiB of letters',
    docker([{ Config: 'c'.repeat(4 * MiB), Layers: [] }]),
    { reason: 'layout_incomplete' },
  ],
  [
    'lists its images by 100,000 names',
    layout(many(30_000, (at) => descriptor(types.manifest, String(at)))),
    { reason: 'several_images_in_layout' },
  ],
  [
    'says that its config has 1 GiB',
    image({ config: bigConfig }),
    { reason: 'malformed_image', facts: { limit: 8 * MiB } },
  ],
  [
    'has a digest of another algorithm',
    image({ layers: [{ mediaType: types.layer, digest: `sha512:${'0'.repeat(128)}`, size: 1 }] }),
    { reason: 'malformed_image' },
  ],
  [
    'has a digest in capitals',
    image({ layers: [{ mediaType: types.layer, digest: digestOf(LAYER).toUpperCase(), size: 1 }] }),
    { reason: 'malformed_image' },
  ],
  [
    'has a digest with capital digits',
    image({ layers: [{ mediaType: types.layer, digest: `sha256:${sha256(LAYER).toUpperCase()}`, size: 1 }] }),
    { reason: 'malformed_image' },
  ],
  [
    'has a layer of a negative size',
    image({ layers: [{ ...descriptor(types.layer, LAYER), size: -1 }] }),
    { reason: 'malformed_image' },
  ],
  [
    'has a layer listed with two sizes',
    image({ layers: [descriptor(types.layer, LAYER), { ...descriptor(types.layer, LAYER), size: 7 }] }),
    { reason: 'size_mismatch' },
  ],
  ['has indexes in one another without end', nested(20), { code: 'unsupported', reason: 'not_an_image' }],
  [
    'has an index that names itself',
    layout([{ mediaType: types.index, digest: `sha256:${own}`, size: itself.length }], {
      name: `blobs/sha256/${own}`,
      body: itself,
    }),
    { reason: 'digest_mismatch' },
  ],
  ['has a file of a negative size', withSize(Buffer.alloc(12, 0xff)), { reason: 'archive_malformed' }],
  [
    'has a file of 2^88 bytes',
    withSize(Buffer.concat([Buffer.from([0x80]), Buffer.alloc(11, 0xff)])),
    { reason: 'archive_malformed' },
  ],
  [
    'has a pax size that is none',
    buildTar([{ name: 'manifest.json', body: '[]', pax: { size: '-1' } }]),
    { reason: 'archive_malformed' },
  ],
  [
    'has a pax size that nobody can count',
    buildTar([{ name: 'manifest.json', body: '[]', pax: { size: '9'.repeat(400) } }]),
    { reason: 'archive_malformed' },
  ],
  [
    'has a pax header of 1 GiB',
    buildTar([
      { name: 'manifest.json', body: '[]' },
      { name: 'pax', type: 'x', size: 1024 * MiB },
    ]),
    { reason: 'archive_header_too_large' },
  ],
  [
    'has a body where there is none',
    buildTar([
      { name: 'manifest.json', body: '[]' },
      ...longName('n'.repeat(MiB - 1), { name: 'x', type: '5', body: 'x' }),
    ]),
    { reason: 'archive_malformed' },
  ],
  [
    'has layers that are links in a circle',
    docker(
      [{ Config: 'c.json', Layers: ['a/layer.tar'] }],
      { name: 'c.json', body: CONFIG },
      { name: 'a/layer.tar', type: '2', linkName: '../b/layer.tar' },
      { name: 'b/layer.tar', type: '2', linkName: '../a/layer.tar' },
    ),
    { reason: 'layout_incomplete' },
  ],
  [
    'has layers that are links to the outside',
    docker(
      [{ Config: 'c.json', Layers: ['a/layer.tar'] }],
      { name: 'c.json', body: CONFIG },
      { name: 'a/layer.tar', type: '2', linkName: '../../../../etc/passwd' },
    ),
    { reason: 'layout_incomplete' },
  ],
  [
    'has a layer that is a FIFO',
    docker([{ Config: 'c.json', Layers: ['l'] }], { name: 'c.json', body: CONFIG }, { name: 'l', type: '6' }),
    { reason: 'layout_incomplete' },
  ],
]

describe('an archive', () => {
  let dir: string
  let store: ImageStore
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-hostile-'))
    store = await ImageStore.open(join(dir, 'store'))
  })
  afterEach(() => rm(dir, { recursive: true }))

  async function* pieces(bytes: Buffer) {
    for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
  }
  const ways: [string, (bytes: Buffer, options?: ImportStreamOptions) => Promise<unknown>][] = [
    ['from a stream', (bytes, options = {}) => store.importStream(pieces(bytes), options, none)],
    [
      'from a file',
      async (bytes) => {
        await writeFile(join(dir, 'archive.tar'), bytes)
        return store.import(join(dir, 'archive.tar'), {}, none)
      },
    ],
  ]

  describe.each(ways)('%s', (_, bring) => {
    it.each(hostile)('that %s is refused in few words, and leaves nothing', async (_, bytes, expected) => {
      const refusal = await bring(bytes).then(
        () => expect.unreachable('it was taken'),
        (error: unknown) => CoppiceError.from(error),
      )
      expect(refusal).toMatchObject(expected)
      expect(JSON.stringify(refusal.toBody()).length).toBeLessThan(MAX_ERROR_BYTES)
      await store.collect()
      expect(await readdir(join(dir, 'store/blobs/sha256'))).toEqual([])
    })

    it('whose names alone would fill the memory is refused before they do', async () => {
      const name = 'n'.repeat(MiB - 9)
      const file = (at: number) => longName(`${name}${String(at).padStart(8)}`, { name: 'x', body: '' })
      const bytes = buildTar([{ name: 'manifest.json', body: '[]' }, ...many(40, file).flat()] as TestEntry[])
      await expect(bring(bytes)).rejects.toMatchObject({ reason: 'archive_malformed' })
    })

    it('whose name is a million slashes is read as fast as any', { timeout: 20_000 }, async () => {
      const names = [`${'/'.repeat(MiB - 2)}x`, `${'./'.repeat(MiB / 2 - 1)}`]
      const files = names.flatMap((name) => longName(name, { name: 'x', body: '' }))
      await expect(bring(buildTar([{ name: 'manifest.json', body: '[]' }, ...files]))).rejects.toMatchObject({
        reason: 'image_not_in_layout',
      })
    })
  })
})
