import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { constants, gzipSync, zstdCompressSync } from 'node:zlib'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { writeLayout } from '../testing/layout-builder.ts'
import { buildTar, type TestEntry } from '../testing/tar-builder.ts'
import type { ImportStreamOptions } from './imports.ts'

const none = Progress.none()
const sha256 = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')
const hello = buildTar([{ name: 'hello', body: 'hello' }])
const noise = buildTar([{ name: 'noise', body: randomBytes(200_000) }])

/** What `docker save` wrote before version 25: a folder for each layer; one that was there already is a link. */
function dockerArchive(images: { tags: string[] | null; layers: Buffer[] }[], last = true): Buffer {
  const entries: TestEntry[] = []
  const manifest = images.map(({ tags, layers }, at) => {
    const config = JSON.stringify({
      architecture: 'amd64',
      os: 'linux',
      config: { Cmd: [`image-${at}`] },
      rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${sha256(layer)}`) },
    })
    entries.push({ name: `${sha256(config)}.json`, body: config })
    const names = layers.map((layer, depth) => {
      const folder = sha256(`${at} ${depth}`)
      const first = images
        .flatMap((image, i) => image.layers.map((other, d) => ({ other, id: sha256(`${i} ${d}`) })))
        .find(({ other }) => other.equals(layer))?.id
      entries.push({ name: `${folder}/`, type: '5' }, { name: `${folder}/VERSION`, body: '1.0' })
      entries.push(
        first === folder
          ? { name: `${folder}/layer.tar`, body: layer }
          : { name: `${folder}/layer.tar`, type: '2', linkName: `../${first}/layer.tar` },
      )
      return `${folder}/layer.tar`
    })
    return { Config: `${sha256(config)}.json`, RepoTags: tags, Layers: names }
  })
  const list = { name: 'manifest.json', body: JSON.stringify(manifest) }
  return buildTar(last ? [...entries, list] : [list, ...entries])
}

/** As far as it can be unpacked without its end. */
function gzipFlushed(bytes: Buffer): Buffer {
  return gzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH })
}

describe('an archive', () => {
  let dir: string
  let store: ImageStore
  const blobs = () => readdir(join(dir, 'store/blobs/sha256'))
  const scratch = async () => {
    const [own = ''] = await readdir(join(dir, 'store/tmp'))
    return readdir(join(dir, 'store/tmp', own))
  }
  /** In pieces that fit nothing. */
  async function* pieces(bytes: Buffer, size = 7777) {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
  }
  const stream = (bytes: Buffer, options: ImportStreamOptions = {}) => store.importStream(pieces(bytes), options, none)
  const file = async (bytes: Buffer, options: ImportStreamOptions & { place?: string } = {}) => {
    await writeFile(join(dir, 'archive'), bytes)
    const transport = options.format === undefined || options.format === 'auto' ? '' : `${options.format}:`
    return store.import(`${transport}${join(dir, 'archive')}${options.ref ? `:${options.ref}` : ''}`, options, none)
  }
  const ways: [string, typeof stream][] = [
    ['from a stream', (bytes, options) => stream(bytes, options)],
    ['from a file', (bytes, options) => file(bytes, options)],
  ]

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-archive-'))
    store = await ImageStore.open(join(dir, 'store'))
  })
  afterEach(async () => {
    expect(await scratch()).toEqual([])
    await rm(dir, { recursive: true, force: true })
  })

  describe.each(ways)('%s', (_, bring) => {
    it.each([
      ['plain', (bytes: Buffer) => bytes],
      ['gzip', gzipSync],
      ['zstd', zstdCompressSync],
    ])('that docker saved comes with its names, layers and config: %s', async (_, pack) => {
      const image = await bring(pack(dockerArchive([{ tags: ['my/app:1'], layers: [hello, noise, hello] }])))
      expect(image).toMatchObject({ name: 'my/app:1', layers: 3, config: { cmd: ['image-0'] } })
      const { diffIds, manifest } = await store.resolve('my/app:1')
      expect(diffIds).toEqual([hello, noise, hello].map((layer) => `sha256:${sha256(layer)}`))
      expect(manifest.layers.map((layer) => layer.digest)).toEqual(diffIds)
      expect(await blobs()).toHaveLength(4)
    })

    it('that docker saved is the same image whichever way its parts lie', async () => {
      const images = [{ tags: ['a'], layers: [hello, noise] }]
      const first = await bring(dockerArchive(images))
      const second = await bring(dockerArchive(images, false), { name: 'b' })
      expect(second.digest).toBe(first.digest)
      expect(second.transferred).toEqual({ bytes: 0, blobs: 0 })
    })

    it('of several images gives the one asked for, by name or place', async () => {
      const archive = dockerArchive([
        { tags: ['a:1', 'b:1'], layers: [hello] },
        { tags: null, layers: [hello, noise] },
      ])
      await expect(bring(archive)).rejects.toMatchObject({ reason: 'several_images_in_layout' })
      const format = 'docker-archive' as const
      expect((await bring(archive, { format, ref: 'b:1' })).config.cmd).toEqual(['image-0'])
      expect((await bring(archive, { format, ref: '@1', name: 'second' })).layers).toBe(2)
      await expect(bring(archive, { format, ref: 'c' })).rejects.toMatchObject({ reason: 'image_not_in_layout' })
      await expect(bring(archive, { format, ref: '@2' })).rejects.toMatchObject({ reason: 'image_not_in_layout' })
    })

    it('that is both, as newer engines save, keeps the digest that it has as OCI image', async () => {
      const [digest = ''] = await writeLayout(join(dir, 'both'), [
        { layers: [{ tar: noise, packed: 'gzip' }], name: '1' },
      ])
      const index = execFileSync('cat', [join(dir, 'both/index.json')]).toString()
      const named = index.replace(
        '"annotations":{',
        '"annotations":{"io.containerd.image.name":"docker.io/library/app:1",',
      )
      await writeFile(join(dir, 'both/index.json'), named)
      await writeFile(join(dir, 'both/manifest.json'), '[]')
      const archive = execFileSync(
        'tar',
        ['-cC', join(dir, 'both'), 'blobs', 'index.json', 'manifest.json', 'oci-layout'],
        {
          maxBuffer: 1e9,
        },
      )
      expect(await bring(archive)).toMatchObject({ name: 'app:1', digest })
    })

    it('of a root file system is one layer', async () => {
      const image = await bring(gzipSync(hello), { name: 'root' })
      expect(image.layers).toBe(1)
      expect((await store.resolve('root')).diffIds).toEqual([`sha256:${sha256(hello)}`])
    })

    it.each<[string, Buffer, object]>([
      [
        'cut off',
        dockerArchive([{ tags: ['a'], layers: [noise] }]).subarray(0, 150_000),
        { reason: 'archive_truncated' },
      ],
      [
        'cut off in its packing',
        gzipSync(dockerArchive([{ tags: ['a'], layers: [noise] }])).subarray(0, 150_000),
        { reason: 'archive_truncated' },
      ],
      [
        'without its list',
        buildTar([{ name: `${sha256('x')}/layer.tar`, body: noise }]),
        { reason: 'layout_incomplete' },
      ],
      ['with a list of nonsense', buildTar([{ name: 'manifest.json', body: '[1]' }]), { reason: 'malformed_image' }],
      ['with an empty list', buildTar([{ name: 'manifest.json', body: '[]' }]), { reason: 'image_not_in_layout' }],
      [
        'that names what is outside',
        buildTar([{ name: 'manifest.json', body: '[{"Config":"../../../etc/passwd","Layers":[]}]' }]),
        { reason: 'layout_incomplete' },
      ],
      [
        'whose links lead in a circle',
        buildTar([
          { name: 'a', type: '2', linkName: 'b' },
          { name: 'b', type: '2', linkName: 'a' },
          { name: 'manifest.json', body: '[{"Config":"a","Layers":[]}]' },
        ]),
        { code: 'invalid_argument' },
      ],
      [
        'whose link leads outside',
        buildTar([
          { name: 'manifest.json', body: '[{"Config":"c","Layers":[]}]' },
          { name: 'c', type: '2', linkName: '/etc/passwd' },
        ]),
        { reason: 'layout_incomplete' },
      ],
    ])('%s is refused, typed, and leaves nothing', async (_, bytes, expected) => {
      const format = bytes.subarray(0, 1).toString() === 'a' ? { format: 'docker-archive' as const } : {}
      await expect(bring(bytes, { name: 'x', ...format })).rejects.toMatchObject(expected)
      expect(await blobs()).toEqual([])
    })

    it('whose layer is not the one that the config names is refused', async () => {
      const archive = dockerArchive([{ tags: ['a'], layers: [noise] }])
      archive[archive.indexOf(noise.subarray(1000, 1100))] = 0x77
      const last = archive.indexOf(noise.subarray(2000, 2100))
      archive[last] = (archive[last] ?? 0) ^ 1
      await expect(bring(archive)).rejects.toMatchObject({ reason: 'digest_mismatch' })
    })

    it('larger than allowed is refused', async () => {
      store = await ImageStore.open(join(dir, 'store'), { maxUnpackedBytes: 100_000 })
      const bomb = gzipSync(dockerArchive([{ tags: ['a'], layers: [Buffer.alloc(10_000_000)] }]))
      await expect(bring(bomb)).rejects.toMatchObject({ reason: 'image_too_large' })
      await rm(join(dir, 'store/tmp'), { recursive: true })
      store = await ImageStore.open(join(dir, 'store'))
    })
  })

  it('whose stream breaks off ends with that, and leaves nothing', async () => {
    async function* broken() {
      yield dockerArchive([{ tags: ['a'], layers: [noise] }]).subarray(0, 100_000)
      throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' })
    }
    await expect(store.importStream(broken(), {}, none)).rejects.toMatchObject({
      code: 'cancelled',
      reason: 'upload_cut',
    })
    expect(await blobs()).toEqual([])
  })

  describe('whose sender falls silent after the damage', () => {
    const damagedHeader = Buffer.concat([noise.subarray(0, noise.length - 1024), Buffer.alloc(512, 'x')])
    const packed = gzipSync(dockerArchive([{ tags: ['a'], layers: [noise] }]))
    packed.fill(0xff, 100_000, 101_000)
    const blob = { name: `blobs/sha256/${sha256('another')}`, body: randomBytes(200_000) }
    const header = (name: string) => buildTar([{ name, body: 'x' }]).subarray(0, 1024)

    it.each<[string, Buffer, string, ImportStreamOptions]>([
      ['a header', damagedHeader, 'not_an_archive', {}],
      ['a header, packed', gzipFlushed(damagedHeader), 'not_an_archive', {}],
      ['a header of an image, packed', gzipFlushed(damagedHeader), 'not_an_archive', { format: 'docker-archive' }],
      ['its first header, packed', gzipFlushed(Buffer.alloc(4096, 'x')), 'not_an_archive', {}],
      ['its packing', packed, 'archive_corrupt', {}],
      ['a name that leads outside', header('../up'), 'archive_path_escape', {}],
      ['a name that leads outside, packed', gzipFlushed(header('../up')), 'archive_path_escape', {}],
      [
        'a blob that is not what its name says',
        buildTar([{ name: 'oci-layout', body: '{}' }, blob]).subarray(0, -1024),
        'digest_mismatch',
        {},
      ],
      [
        'the same, packed',
        gzipFlushed(buildTar([{ name: 'oci-layout', body: '{}' }, blob]).subarray(0, -1024)),
        'digest_mismatch',
        {},
      ],
    ])('is refused at once: %s', { timeout: 10_000 }, async (_, bytes, reason, options) => {
      async function* silent() {
        yield* pieces(bytes)
        await new Promise(() => {})
      }
      await expect(store.importStream(silent(), options, none)).rejects.toMatchObject({ reason })
      expect(await blobs()).toEqual([])
    })
  })

  it('that is refused leaves the rest of its stream to who gave it', async () => {
    let closed = false
    async function* endless() {
      try {
        for (;;) yield Buffer.alloc(100_000, 'x')
      } finally {
        closed = true
      }
    }
    const chunks = endless()
    await expect(store.importStream(chunks, {}, none)).rejects.toMatchObject({ reason: 'not_an_archive' })
    expect(closed).toBe(false)
    await chunks.return()
    expect(closed).toBe(true)
  })

  it('from a stream is not written again where the store has a layer by its digest', async () => {
    await writeLayout(join(dir, 'one'), [{ layers: [{ tar: noise }], name: 'one' }])
    await writeLayout(join(dir, 'two'), [{ layers: [{ tar: noise }, { tar: hello }], name: 'two' }])
    await store.import(join(dir, 'one'), {}, none)
    const archive = execFileSync('tar', ['-cC', join(dir, 'two'), '.'], { maxBuffer: 1e9 })
    const image = await stream(archive)
    expect(image.transferred.bytes).toBe(image.sizeBytes - noise.length)
    expect(await blobs()).toHaveLength(6)
  })

  it('that many bring at once is one image', async () => {
    const archive = dockerArchive([{ tags: ['a'], layers: [noise, hello] }])
    const images = await Promise.all(Array.from({ length: 6 }, (_, at) => stream(archive, { name: `n${at}` })))
    expect(new Set(images.map((image) => image.digest)).size).toBe(1)
    expect(images.reduce((sum, image) => sum + image.transferred.blobs, 0)).toBe(4)
  })
})
