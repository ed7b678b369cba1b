import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { Progress, type ProgressEvent } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { HeldArchive } from './export/archive-stream.ts'
import { ImageStore } from './image-store.ts'
import { type TestImage, writeLayout } from './testing/layout-builder.ts'
import { buildTar } from './testing/tar-builder.ts'

const execute = promisify(execFile)
const none = Progress.none()

const hello = buildTar([
  { name: 'etc/', type: '5' },
  { name: 'etc/hello', body: 'hello' },
])
const world = buildTar([{ name: 'etc/world', body: 'world' }])

describe('image store', () => {
  let dir: string
  let store: ImageStore
  const inStore = (...path: string[]) => join(dir, 'store', ...path)
  const file = async (name: string, bytes: Buffer | string) => {
    await writeFile(join(dir, name), bytes)
    return join(dir, name)
  }
  const layout = async (name: string, images: TestImage[]) => {
    await writeLayout(join(dir, name), images)
    return join(dir, name)
  }
  const ociArchive = async (name: string, images: TestImage[], ...options: string[]) => {
    const folder = await layout(`${name}.dir`, images)
    execFileSync('tar', [...options, '-cf', join(dir, name), '-C', folder, '.'])
    return join(dir, name)
  }
  const blobs = async () => (await readdir(inStore('blobs/sha256'))).length

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-images-'))
    store = await ImageStore.open(inStore())
  })
  afterEach(() => rm(dir, { recursive: true, force: true }))

  describe('imports', () => {
    it.each([
      ['plain', (bytes: Buffer) => bytes],
      ['packed with gzip', gzipSync],
      ['packed with zstd', zstdCompressSync],
    ])('a root file system archive, %s, and says what it is', async (_, pack) => {
      const events: ProgressEvent[] = []
      const source = await file('My App.tar', pack(hello))
      const info = await store.import(source, {}, new Progress({ onEvent: (event) => events.push(event) }))
      expect(info).toMatchObject({ name: 'my-app', os: 'linux', layers: 1, source })
      const size = (await stat(source)).size
      expect(events.at(-1)).toEqual({ message: 'Reading the archive', done: size, total: size, unit: 'bytes' })
      const image = await store.resolve('my-app')
      expect(image.diffIds).toEqual([`sha256:${execFileSync('sha256sum', { input: hello }).toString().slice(0, 64)}`])
      const { transferred, ...listed } = info
      expect(transferred).toEqual({ bytes: info.sizeBytes, blobs: 3 })
      expect((await store.list()).images).toEqual([listed])
      expect((await stat(inStore('index.json'))).mode & 0o777).toBe(0o600)
    })

    it('the same archive twice as the same image', async () => {
      const source = await file('a.tar', hello)
      const first = await store.import(source, { name: 'one' }, none)
      const second = await store.import(source, { name: 'two' }, none)
      expect(second.digest).toBe(first.digest)
      expect(await blobs()).toBe(3)
    })

    it('what it is told about the programs of a root file system', async () => {
      const config = { env: { A: 'b=c' }, cwd: '/w', user: 'u', entrypoint: ['e'], cmd: ['c'], labels: { l: 'v' } }
      await store.import(await file('a.tar', hello), { name: 'a', config }, none)
      expect((await store.resolve('a')).config).toEqual(config)
    })

    it.each(['folder', 'archive', 'archive packed with gzip', 'archive whose index comes last'])(
      'an OCI layout: %s',
      async (kind) => {
        const images: TestImage[] = [
          {
            name: 'their/app:2',
            layers: [
              { tar: hello, packed: 'gzip' },
              { tar: world, packed: 'zstd' },
              { tar: buildTar([{ name: 'x' }]) },
            ],
            config: {
              Env: ['PATH=/bin', 'EMPTY='],
              User: '1000:1000',
              WorkingDir: '/srv',
              Entrypoint: null,
              Cmd: ['run'],
            },
          },
        ]
        const source = {
          folder: () => layout('l', images),
          archive: () => ociArchive('a', images),
          'archive packed with gzip': () => ociArchive('a', images, '-z'),
          'archive whose index comes last': async () => {
            const folder = await layout('l', images)
            execFileSync('tar', ['-cf', join(dir, 'a'), '-C', folder, './blobs', './oci-layout', './index.json'])
            return join(dir, 'a')
          },
        }[kind]
        const info = await store.import((await source?.()) ?? '', {}, none)
        expect(info).toMatchObject({ name: 'their/app:2', layers: 3 })
        expect(info.config).toEqual({
          env: { PATH: '/bin', EMPTY: '' },
          cwd: '/srv',
          user: '1000:1000',
          entrypoint: [],
          cmd: ['run'],
          labels: {},
        })
        expect(await blobs()).toBe(5)
      },
    )

    it('the image that is asked for out of several, by the name behind the path', async () => {
      const images = [
        { name: 'a', layers: [{ tar: hello }] },
        { name: 'b', layers: [{ tar: world }] },
      ]
      const source = await layout('l', images)
      await expect(store.import(source, {}, none)).rejects.toMatchObject({ reason: 'several_images_in_layout' })
      expect(await store.import(`oci:${source}:b`, {}, none)).toMatchObject({ name: 'b' })
      await expect(store.import(`oci:${source}:c`, {}, none)).rejects.toMatchObject({ reason: 'image_not_in_layout' })
    })

    it('the variant for this machine from a multi-platform index, and nothing of the others', async () => {
      const arch = process.arch === 'x64' ? 'amd64' : process.arch
      const folder = await layout('l', [
        { layers: [{ tar: world }], architecture: 's390x' },
        { layers: [{ tar: hello }], architecture: arch },
      ])
      const inner = await readFile(join(folder, 'index.json'))
      const hex = execFileSync('sha256sum', { input: inner }).toString().slice(0, 64)
      await writeFile(join(folder, 'blobs/sha256', hex), inner)
      const entry = {
        mediaType: 'application/vnd.oci.image.index.v1+json',
        digest: `sha256:${hex}`,
        size: inner.length,
      }
      await writeFile(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }))
      expect(await store.import(folder, { name: 'multi' }, none)).toMatchObject({ architecture: arch })
      expect(await blobs()).toBe(3)
    })

    it('two of the same image at once, and of different ones', async () => {
      const images = [{ layers: [{ tar: hello, packed: 'gzip' as const }] }]
      const [a, b, c] = [await ociArchive('a', images), await layout('b', images), await file('c.tar', world)]
      const imported = await Promise.all([a, b, c, a].map((source, i) => store.import(source, { name: `n${i}` }, none)))
      expect(new Set(imported.map((image) => image.digest)).size).toBe(2)
      expect((await store.list()).images.map((image) => image.name)).toEqual(['n0', 'n1', 'n2', 'n3'])
    })
  })

  describe('refuses, typed, and keeps nothing of', () => {
    afterEach(async () => {
      await store.collect()
      expect(await blobs()).toBe(0)
      expect((await store.list()).images).toEqual([])
      expect(await readdir(join(inStore('tmp'), (await readdir(inStore('tmp')))[0] ?? ''))).toEqual([])
    })

    it.each([
      ['an absolute name', buildTar([{ name: '/etc/passwd', body: 'x' }]), 'archive_path_escape'],
      ['a name upwards', buildTar([{ name: '../x', body: 'x' }]), 'archive_path_escape'],
      [
        'a write through a symlink',
        buildTar([
          { name: 'a', type: '2', linkName: '/tmp' },
          { name: 'a/b', body: 'x' },
        ]),
        'archive_symlink_escape',
      ],
      ['a pax header without end', buildTar([{ name: 'p', type: 'x', size: 2 ** 30 }]), 'archive_header_too_large'],
      ['a cut off archive', buildTar([{ name: 'p', body: 'x'.repeat(5000) }]).subarray(0, 4000), 'archive_truncated'],
      ['cut off gzip', gzipSync(hello).subarray(0, 80), 'archive_truncated'],
      ['damaged gzip', Buffer.concat([gzipSync(hello).subarray(0, -8), Buffer.alloc(8, 7)]), 'archive_corrupt'],
      ['xz', Buffer.from('fd377a585a0000', 'hex'), 'unsupported_compression'],
      ['text', Buffer.from('hello'.repeat(1000)), 'not_an_archive'],
      ['an empty file', Buffer.alloc(0), 'archive_empty'],
    ])('%s', async (_, bytes, reason) => {
      const source = await file('bad.tar', bytes)
      await expect(store.import(source, {}, none)).rejects.toMatchObject({ code: 'invalid_argument', reason })
    })

    it('a decompression bomb', async () => {
      const small = await ImageStore.open(inStore(), { maxUnpackedBytes: 1024 * 1024 })
      const bomb = await file(
        'bomb.tar.gz',
        gzipSync(buildTar([{ name: 'zero', body: Buffer.alloc(8 * 1024 * 1024) }])),
      )
      const tooLarge = { code: 'resource_exhausted', reason: 'image_too_large' }
      await expect(small.import(bomb, {}, none)).rejects.toMatchObject(tooLarge)
      const packed = await ociArchive(
        'a',
        [{ layers: [{ tar: buildTar([{ name: 'z', body: Buffer.alloc(2 ** 21) }]) }] }],
        '-z',
      )
      await expect(small.import(packed, {}, none)).rejects.toMatchObject(tooLarge)
      await rm(inStore('tmp'), { recursive: true })
      store = await ImageStore.open(inStore())
    })

    it('a layer that is not what its digest says', async () => {
      const source = await layout('l', [{ layers: [{ tar: hello }] }])
      const index = JSON.parse(await readFile(join(source, 'index.json'), 'utf8'))
      const hex = (digest: string) => join(source, 'blobs/sha256', digest.slice(7))
      const manifest = JSON.parse(await readFile(hex(index.manifests[0].digest), 'utf8'))
      const bytes = await readFile(hex(manifest.layers[0].digest))
      bytes[1024] = 0
      await writeFile(hex(manifest.layers[0].digest), bytes)
      await expect(store.import(source, { name: 'l' }, none)).rejects.toMatchObject({ reason: 'digest_mismatch' })
      await truncate(hex(manifest.layers[0].digest), 100)
      await expect(store.import(source, { name: 'l' }, none)).rejects.toMatchObject({ reason: 'size_mismatch' })
      await rm(hex(manifest.layers[0].digest))
      await expect(store.import(source, { name: 'l' }, none)).rejects.toMatchObject({ reason: 'layout_incomplete' })
    })

    it('a digest that is a path', async () => {
      const source = await layout('l', [{ layers: [{ tar: hello }] }])
      const index = (await readFile(join(source, 'index.json'), 'utf8')).replace(
        /sha256:[0-9a-f]{64}/,
        'sha256:../../../etc/passwd',
      )
      await writeFile(join(source, 'index.json'), index)
      await expect(store.import(source, { name: 'l' }, none)).rejects.toMatchObject({ reason: 'malformed_image' })
    })

    it('what is not there, not read, or has no valid name', async () => {
      await expect(store.import(join(dir, 'nothing'), {}, none)).rejects.toMatchObject({ code: 'not_found' })
      await expect(store.import('docker-daemon:x', {}, none)).rejects.toMatchObject({
        code: 'unsupported',
        reason: 'source_kind',
      })
      await mkdir(join(dir, 'empty'))
      await expect(store.import(join(dir, 'empty'), {}, none)).rejects.toMatchObject({ reason: 'source_kind' })
      const source = await file('a.tar', hello)
      for (const name of ['', '../x', '-a', 'a b', `sha256:${'0'.repeat(64)}`, 'x'.repeat(300)]) {
        await expect(store.import(source, { name }, none)).rejects.toMatchObject({ reason: 'invalid_image_name' })
      }
    })

    it('an import that was cancelled', async () => {
      const abort = new AbortController()
      const progress = new Progress({ signal: abort.signal, onEvent: () => abort.abort() })
      await expect(store.import(await file('a.tar', hello), {}, progress)).rejects.toMatchObject({ code: 'cancelled' })
    })
  })

  describe('finds', () => {
    it('an image by name, with and without its tag, by digest and by the start of one', async () => {
      const { digest } = await store.import(await file('a.tar', hello), { name: 'app' }, none)
      const hex = digest.slice(7)
      for (const reference of ['app', 'app:latest', digest, hex, hex.slice(0, 12), `sha256:${hex.slice(0, 20)}`]) {
        expect((await store.resolve(reference)).digest).toBe(digest)
      }
      for (const reference of ['app:1', 'ap', hex.slice(0, 11), '']) {
        await expect(store.resolve(reference)).rejects.toMatchObject({ code: 'not_found', reason: 'image_not_found' })
      }
      await expect(store.resolve('base')).rejects.toMatchObject({ hint: 'coppice image bootstrap' })
    })

    it('the other images when one is damaged, and says which', async () => {
      await store.import(await file('a.tar', hello), { name: 'good' }, none)
      const { digest } = await store.import(await file('b.tar', world), { name: 'bad' }, none)
      await writeFile(inStore('blobs/sha256', digest.slice(7)), '{}')
      const listing = await store.list()
      expect(listing.images.map((image) => image.name)).toEqual(['good'])
      expect(listing.skipped).toMatchObject([{ name: 'bad' }])
      await expect(store.resolve('bad')).rejects.toMatchObject({ code: 'internal', reason: 'blob_corrupt' })
      await expect(store.collect()).rejects.toMatchObject({ reason: 'blob_corrupt' })
    })

    it('a damaged index, and leaves it as it is', async () => {
      await writeFile(inStore('index.json'), '{"schemaVersion"')
      await expect(ImageStore.open(inStore())).rejects.toMatchObject({
        code: 'failed_precondition',
        reason: 'index_unreadable',
      })
      await expect(store.import(await file('a.tar', hello), {}, none)).rejects.toMatchObject({
        reason: 'index_unreadable',
      })
      expect(await readFile(inStore('index.json'), 'utf8')).toBe('{"schemaVersion"')
    })
  })

  describe('removes', () => {
    it('an image with its last name, and the blobs that no other image needs', async () => {
      const shared = { tar: hello }
      await store.import(await layout('a', [{ layers: [shared] }]), { name: 'a' }, none)
      await store.import(await layout('b', [{ layers: [shared, { tar: world }] }]), { name: 'b' }, none)
      await store.import(await layout('c', [{ layers: [shared] }]), { name: 'a2' }, none)
      expect(await blobs()).toBe(7 - 1)
      expect(await store.remove('a')).toEqual({ images: 0, blobs: 0, layers: 0 })
      await expect(store.resolve('a')).rejects.toMatchObject({ reason: 'image_not_found' })
      expect(await store.remove('a2')).toEqual({ images: 1, blobs: 2, layers: 0 })
      expect((await store.list()).images.map((image) => image.name)).toEqual(['b'])
      await expect(store.remove('a')).rejects.toMatchObject({ reason: 'image_not_found' })
    })

    it('all names of an image by its digest', async () => {
      const { digest } = await store.import(await file('a.tar', hello), { name: 'a' }, none)
      await store.import(await file('a.tar', hello), { name: 'b' }, none)
      expect(await store.remove(digest)).toMatchObject({ blobs: 3 })
      expect((await store.list()).images).toEqual([])
    })

    it('nothing that is in use, neither by hand nor when its name is given to another', async () => {
      const used = new Set<string>()
      store = await ImageStore.open(inStore(), { inUse: (digest) => used.has(digest) })
      const { digest } = await store.import(await file('a.tar', hello), { name: 'app' }, none)
      used.add(digest)
      await expect(store.remove('app')).rejects.toMatchObject({ code: 'failed_precondition', reason: 'image_in_use' })
      await store.import(await file('b.tar', world), { name: 'app' }, none)
      expect((await store.resolve(digest)).name).toBeUndefined()
      expect((await store.list()).images).toHaveLength(1)
      used.clear()
      expect(await store.collect()).toEqual({ images: 1, blobs: 3, layers: 0 })
      await expect(store.resolve(digest)).rejects.toMatchObject({ reason: 'image_not_found' })
    })

    it('nothing that may be in use, but its name by hand, and says how much that is', async () => {
      let readable = false
      store = await ImageStore.open(inStore(), { inUse: () => (readable ? false : 'unknown') })
      const { digest } = await store.import(await file('a.tar', hello), { name: 'app' }, none)
      expect(await store.prune()).toMatchObject({ images: 0, kept: 0 })
      await store.remove('app')
      expect(await store.prune()).toMatchObject({ images: 0, blobs: 0, kept: 1 })
      expect((await store.resolve(digest)).name).toBeUndefined()
      readable = true
      expect(await store.prune()).toMatchObject({ images: 1, blobs: 3, kept: 0 })
    })

    it('nothing that is held', async () => {
      await store.import(await file('a.tar', hello), { name: 'app' }, none)
      const image = await store.resolve('app')
      const release = store.hold(image)
      await store.import(await file('b.tar', world), { name: 'app' }, none)
      expect((await store.resolve(image.digest)).digest).toBe(image.digest)
      release()
      expect(await store.collect()).toMatchObject({ images: 1, blobs: 3 })
    })

    it('nothing that a create under way is about to use, when its last name is removed', async () => {
      const used = new Set<string>()
      store = await ImageStore.open(inStore(), { inUse: (digest) => used.has(digest) })
      await store.import(await file('a.tar', hello), { name: 'app' }, none)
      const image = await store.resolve('app')
      const release = store.hold(image)
      expect(await store.remove('app')).toEqual({ images: 0, blobs: 0, layers: 0 })
      used.add(image.digest)
      release()
      expect(await store.collect()).toEqual({ images: 0, blobs: 0, layers: 0 })
      expect((await store.resolve(image.digest)).config).toEqual(image.config)
    })

    it('nothing of an image that a create has found, however the two fall together', async () => {
      const used = new Set<string>()
      store = await ImageStore.open(inStore(), { inUse: (digest) => used.has(digest) })
      const source = await file('a.tar', hello)
      for (let round = 0; round < 60; round++) {
        used.clear()
        const { digest } = await store.import(source, { name: 'app' }, none)
        const removing = store.remove('app')
        // Another number of steps each time: before the collection, in every part of it, and after it.
        for (let step = 0; step < round; step++) await new Promise(setImmediate)
        const found = await store.acquire(digest).catch((error) => error)
        await removing
        if (found instanceof Error) {
          expect(found).toMatchObject({ reason: 'image_not_found' })
          continue
        }
        used.add(digest)
        found.release()
        await store.prune()
        expect((await store.resolve(digest)).config).toEqual(found.image.config)
        await store.export(digest, join(dir, 'out.tar'), none)
      }
    })

    it('what cut downloads have left, when asked to, and says how much that was', async () => {
      await store.import(await file('a.tar', hello), { name: 'app' }, none)
      await writeFile(inStore('partial', 'a'.repeat(64)), Buffer.alloc(1000))
      const { sizeBytes } = await store.import(await file('b.tar', world), { name: 'other' }, none)
      await store.remove('app')
      expect(await store.prune()).toEqual({ images: 0, blobs: 0, layers: 0, partials: 1, kept: 0, bytes: 1000 })
      const release = (await store.acquire('other')).release
      await store.remove('other')
      expect(await store.prune()).toMatchObject({ images: 0, bytes: 0 })
      release()
      expect(await store.prune()).toEqual({ images: 1, blobs: 3, layers: 0, partials: 0, kept: 0, bytes: sizeBytes })
    })

    it('nothing of an import that goes on at the same time', async () => {
      const sources = await Promise.all(
        Array.from({ length: 8 }, (_, i) => file(`${i}.tar`, buildTar([{ name: 'f', body: `${i}`.repeat(100_000) }]))),
      )
      const busy = Promise.all(sources.map((source, i) => store.import(source, { name: `n${i}` }, none)))
      const collecting = Promise.all(Array.from({ length: 20 }, () => store.collect()))
      await Promise.all([busy, collecting])
      for (let i = 0; i < 8; i++) {
        const image = await store.resolve(`n${i}`)
        for (const layer of image.manifest.layers) await stat(inStore('blobs/sha256', layer.digest.slice(7)))
      }
    })
  })

  describe('exports', () => {
    const image: TestImage = {
      layers: [{ tar: hello, packed: 'gzip' }, { tar: world }, { tar: world }],
      config: { Env: ['A=b'], Cmd: ['x'] },
    }

    it('an OCI archive that imports as the same image', async () => {
      const { digest } = await store.import(await layout('l', [image]), { name: 'my/app:1' }, none)
      await store.export('my/app:1', join(dir, 'out.tar'), none)
      const other = await ImageStore.open(join(dir, 'other'))
      expect(await other.import(join(dir, 'out.tar'), {}, none)).toMatchObject({ digest, name: 'my/app:1' })
      await store.export(digest, join(dir, 'again.tar'), none)
      expect((await readFile(join(dir, 'again.tar'))).equals(await readFile(join(dir, 'out.tar')))).toBe(true)
    })

    it('the same archive as a stream of known size, that says nothing about this store', async () => {
      await store.import(await layout('l', [image]), { name: 'app' }, none)
      await store.export('app', join(dir, 'out.tar'), none)
      const { sizeBytes, chunks } = await store.openExport('app', none)
      const streamed = Buffer.concat(await Array.fromAsync(chunks))
      expect([streamed.length, streamed.equals(await readFile(join(dir, 'out.tar')))]).toEqual([sizeBytes, true])
      expect(streamed.includes(dir)).toBe(false)
    })

    it('an archive that stays whole, whatever is removed before its first byte is read', async () => {
      await layout('l', [image])
      for (const open of [() => store.openExport('app', none), () => store.openDockerArchive('app', {}, none)]) {
        await store.import(join(dir, 'l'), { name: 'app' }, none)
        const archive = await open()
        await store.remove('app')
        expect(await store.prune()).toMatchObject({ images: 0, blobs: 0 })
        expect(Buffer.concat(await Array.fromAsync(archive.chunks)).length).toBe(archive.sizeBytes)
        expect(await store.prune()).toMatchObject({ images: 1, blobs: 4 })
      }
    })

    it('an archive that holds nothing any more once it is released, fails, or is left', async () => {
      const leave: ((archive: HeldArchive) => Promise<unknown>)[] = [
        async (archive) => archive.release(),
        async ({ chunks }) => {
          for await (const _ of chunks) break
        },
        async ({ chunks }) => {
          const { layers } = (await store.resolve('app')).manifest
          await truncate(inStore('blobs/sha256', (layers[0]?.digest ?? '').slice(7)), 3)
          await expect(Array.fromAsync(chunks)).rejects.toMatchObject({ reason: 'blob_corrupt' })
        },
      ]
      for (const end of leave) {
        await store.import(await layout(`l${leave.indexOf(end)}`, [image]), { name: 'app' }, none)
        const archive = await store.openExport('app', none)
        await end(archive)
        await store.remove('app')
        expect(await blobs()).toBe(0)
        archive.release()
      }
      await expect(store.openExport('app', none)).rejects.toMatchObject({ reason: 'image_not_found' })
    })

    it('a layout folder, to which a second image adds only what is new', async () => {
      const folder = join(dir, 'out')
      const first = await store.import(await layout('l', [image]), { name: 'one' }, none)
      const more = { ...image, layers: [...image.layers, { tar: buildTar([{ name: 'more' }]) }] }
      const second = await store.import(await layout('m', [more]), { name: 'two' }, none)
      await store.export('one', `oci:${folder}`, none)
      const before = await readdir(join(folder, 'blobs/sha256'))
      await store.export('two', `oci:${folder}:renamed`, none)
      await store.export('two', `oci:${folder}:renamed`, none)
      expect((await readdir(join(folder, 'blobs/sha256'))).length).toBe(before.length + 3)
      const other = await ImageStore.open(join(dir, 'other'))
      expect(await other.import(`oci:${folder}:one`, {}, none)).toMatchObject({ digest: first.digest, name: 'one' })
      expect(await other.import(`oci:${folder}:renamed`, {}, none)).toMatchObject({ digest: second.digest })
      await expect(store.export('one', `oci:${dir}`, none)).rejects.toMatchObject({ reason: 'not_a_layout' })
    })

    it('a docker archive that imports with the same layers and config, under the name asked for', async () => {
      await store.import(await layout('l', [image]), { name: 'my/app' }, none)
      const { diffIds, manifest } = await store.resolve('my/app')
      for (const [place, name] of [
        [`docker-archive:${join(dir, 'out.tar')}`, 'my/app:latest'],
        [`docker-archive:${join(dir, 'out.tar')}:localhost:5000/other:2`, 'localhost:5000/other:2'],
      ] as const) {
        await store.export('my/app', place, none)
        const other = await ImageStore.open(join(dir, 'other'))
        expect(await other.import(join(dir, 'out.tar'), {}, none)).toMatchObject({ name })
        const again = await other.resolve(name)
        expect([again.diffIds, again.manifest.config.digest]).toEqual([diffIds, manifest.config.digest])
      }
      const bad = `docker-archive:${join(dir, 'out.tar')}:a//b`
      await expect(store.export('my/app', bad, none)).rejects.toMatchObject({ reason: 'invalid_image_reference' })
      await expect(store.export('my/app', 'docker-daemon:x', none)).rejects.toMatchObject({ reason: 'target_kind' })
    })

    it('nothing under the name asked for when it fails', async () => {
      const { digest } = await store.import(await layout('l', [image]), { name: 'app' }, none)
      const layer = (await store.resolve(digest)).manifest.layers[0]?.digest.slice(7) ?? ''
      await rename(inStore('blobs/sha256', layer), join(dir, 'aside'))
      await expect(store.export('app', join(dir, 'out.tar'), none)).rejects.toMatchObject({ reason: 'blob_not_found' })
      expect((await readdir(dir)).filter((name) => name.startsWith('out'))).toEqual([])
      await expect(store.export('app', join(dir, 'no/such/out.tar'), none)).rejects.toMatchObject({ code: 'not_found' })
    })

    it('what skopeo reads and copies', async (ctx) => {
      if (!(await execute('skopeo', ['--version']).catch(() => undefined))) ctx.skip('skopeo is not installed')
      const { digest } = await store.import(await layout('l', [image]), { name: 'app' }, none)
      await store.export('app', join(dir, 'out.tar'), none)
      for (const source of [`oci-archive:${join(dir, 'out.tar')}`, `oci:${inStore()}:app`]) {
        const inspected = JSON.parse((await execute('skopeo', ['inspect', source])).stdout)
        expect(inspected).toMatchObject({ Digest: digest, Env: ['A=b'], Os: 'linux' })
        expect(inspected.Layers).toHaveLength(3)
      }
      const policy = ['--insecure-policy', 'copy', '-q']
      await execute('skopeo', [...policy, `oci-archive:${join(dir, 'out.tar')}`, `dir:${join(dir, 'copied')}`])
      await execute('skopeo', [
        ...policy,
        `dir:${join(dir, 'copied')}`,
        `oci-archive:${join(dir, 'theirs.tar')}:their:1`,
      ])
      // skopeo packs the layers on the way, so the blobs are others; what is in them is the same.
      expect(await store.import(join(dir, 'theirs.tar'), {}, none)).toMatchObject({ name: 'their:1' })
      expect((await store.resolve('their:1')).diffIds).toEqual((await store.resolve(digest)).diffIds)
    })
  })

  it('has nothing that counts, and nothing in the way, after an import was killed', { timeout: 60_000 }, async () => {
    const source = await file('big.tar', buildTar([{ name: 'f', body: Buffer.alloc(24 * 1024 * 1024, 'x') }]))
    const script = new URL('./testing/import-forever.ts', import.meta.url).pathname
    for (let round = 0; round < 6; round++) {
      const child = spawn(process.execPath, [script, inStore(), source, 'big'], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      await once(child.stdout, 'data')
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 150))
      child.kill('SIGKILL')
      await once(child, 'close')
      store = await ImageStore.open(inStore())
      const { images, skipped } = await store.list()
      expect(skipped).toEqual([])
      for (const image of images) await store.export(image.name, join(dir, 'whole.tar'), none)
      for (const hex of await readdir(inStore('blobs/sha256'))) {
        expect((await execute('sha256sum', [inStore('blobs/sha256', hex)])).stdout.slice(0, 64)).toBe(hex)
      }
      expect((await readdir(inStore('tmp'))).every((name) => name.startsWith(`${process.pid}-`))).toBe(true)
    }
    expect(await store.import(source, { name: 'big' }, none)).toMatchObject({ name: 'big' })
  })
})
