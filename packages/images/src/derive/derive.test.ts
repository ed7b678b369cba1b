import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { buildTar, type TestEntry } from '../testing/tar-builder.ts'
import type { AddedLayer } from './derivation.ts'

const none = Progress.none()
const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

const base = buildTar([
  { name: 'etc/', type: '5' },
  { name: 'etc/hello', body: 'hello' },
])
const added = buildTar([
  { name: 'etc/.wh.hello' },
  { name: 'etc/hosts', body: 'mine' },
  { name: 'b\xff\xfe', body: 'bytes', pax: { 'SCHILY.xattr.security.capability': Buffer.from([1, 0, 255, 10]) } },
  { name: '.engine/', type: '5' },
  { name: '.engine/inner', body: 'x' },
  { name: '.wh..engine' },
  { name: '.engineers', body: 'not the engine' },
])

describe('an image with one more layer', () => {
  let dir: string
  let store: ImageStore
  let used: Set<string>
  const config = { env: { A: 'b' }, cwd: '/w', user: 'u', entrypoint: ['e'], cmd: ['c'], labels: { l: 'v' } }

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-derive-'))
    used = new Set()
    store = await ImageStore.open(join(dir, 'store'), {
      inUse: (digest) => used.has(digest),
      maxUnpackedBytes: 2 ** 20,
    })
    await store.importStream(once(base), { name: 'base', config }, none)
  })
  afterEach(() => rm(dir, { recursive: true, force: true }))

  const derive = async (layer: Partial<AddedLayer>, name = 'base') =>
    store.derive(await store.resolve(name), { form: 'layer', chunks: once(added), ...layer }, 'a test', none)
  const scratch = async () =>
    (await readdir(join(dir, 'store/tmp'), { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  /** The names in its topmost layer, as GNU tar prints them. */
  const top = async (digest: string) => {
    const image = await store.resolve(digest)
    const file = join(dir, 'store/blobs/sha256', image.diffIds.at(-1)?.slice(7) ?? '')
    return execFileSync('tar', ['-tf', file], { encoding: 'utf8' }).trim().split('\n')
  }
  /** As `docker save` writes it: names of its own for layers, the manifest last. */
  const saved = (layers: { name: string; bytes: Buffer }[], more: TestEntry[] = []) =>
    buildTar([
      { name: `${'a'.repeat(64)}.json`, body: JSON.stringify({ rootfs: {} }).padEnd(600) },
      ...layers.map(({ name, bytes }) => ({ name, body: bytes })),
      ...more,
      { name: 'manifest.json', body: JSON.stringify([{ Layers: layers.map(({ name }) => name) }]).padEnd(1000) },
    ])

  it('has the layers of the other and its own, says the same about its programs, and has no name', async () => {
    const { image, layer, release } = await derive({})
    const from = await store.resolve('base')
    expect(image.diffIds).toEqual([...from.diffIds, sha256(added)])
    expect(layer).toEqual({ digest: sha256(added), size: added.length })
    expect(image.config).toEqual(config)
    expect(image.name).toBeUndefined()
    expect((await store.list()).images.map(({ name }) => name)).toEqual(['base'])
    expect(await store.resolve(image.digest)).toEqual(image)
    expect(await scratch()).toEqual([])
    release()
  })

  it('does not hold what is to be left out, and every other byte of the layer', async () => {
    const { image } = await derive({ leaveOut: ['.engine', 'etc/hosts'] })
    expect(await top(image.digest)).toEqual(['etc/.wh.hello', 'b\\377\\376', '.engineers'])
    const bytes = await readFile(join(dir, 'store/blobs/sha256', image.diffIds[1]?.slice(7) ?? ''))
    expect(bytes.includes(Buffer.from('security.capability=\x01\x00\xff\n', 'latin1'))).toBe(true)
  })

  it('may have a layer in which nothing is', async () => {
    const { image, layer } = await derive({ chunks: once(Buffer.alloc(1024)) })
    expect([image.diffIds.length, layer.size]).toEqual([2, 1024])
    const { image: emptied } = await derive({
      chunks: once(buildTar([{ name: '.engine/', type: '5' }])),
      leaveOut: ['.engine'],
    })
    expect(emptied.diffIds).toEqual(image.diffIds)
  })

  it('can be derived from again, and keeps a history', async () => {
    const { image } = await derive({})
    const again = await derive({ chunks: once(buildTar([{ name: 'z', body: 'z' }])) }, image.digest)
    expect(again.image.diffIds.slice(0, 2)).toEqual(image.diffIds)
    await store.export(again.image.digest, `oci:${join(dir, 'out')}:x`, none)
    execFileSync('tar', ['-cf', join(dir, 'out.tar'), '-C', join(dir, 'out'), '.'])
    await expect(store.import(join(dir, 'out.tar'), { name: 'back' }, none)).resolves.toMatchObject({ layers: 3 })
  })

  it('lives while it is held or in use, and not longer; so does what it was made from', async () => {
    const { image, release } = await derive({})
    await store.prune()
    await store.remove('base')
    expect(await store.resolve(image.digest)).toEqual(image)
    used.add(image.digest)
    release()
    await store.prune()
    await expect(store.remove(image.digest)).rejects.toMatchObject({ reason: 'image_in_use' })
    expect(await store.resolve(image.digest)).toEqual(image)
    used.clear()
    await store.collect()
    await expect(store.resolve(image.digest)).rejects.toMatchObject({ reason: 'image_not_found' })
    expect(await readdir(join(dir, 'store/blobs/sha256'))).toEqual([])
  })

  it.each([
    ['named by an id of its engine', 'layer.tar', (bytes: Buffer) => bytes],
    ['named by its digest', `${sha256(added).slice(7)}.tar`, (bytes: Buffer) => bytes],
    ['as a packed blob', `blobs/sha256/${'c'.repeat(64)}`, gzipSync],
  ])('takes its layer out of what `docker save` writes: %s', async (_, name, pack) => {
    const layers = [
      { name: name === 'layer.tar' ? `${'d'.repeat(64)}/layer.tar` : `${sha256(base).slice(7)}.tar`, bytes: base },
      { name: name === 'layer.tar' ? `${'e'.repeat(64)}/layer.tar` : name, bytes: pack(added) },
    ]
    const archive = { form: 'docker-archive', diffId: sha256(added), leaveOut: ['.engine'] } as const
    for (const order of [layers, layers.toReversed()]) {
      const { image, layer } = await derive({ ...archive, chunks: pieces(saved(order), 700) })
      expect(layer.digest).not.toBe(sha256(added))
      expect(await top(image.digest)).toEqual(['etc/.wh.hello', 'etc/hosts', 'b\\377\\376', '.engineers'])
      expect(await scratch()).toEqual([])
    }
  })

  it('is not made from an archive without the layer, and nothing is left', async () => {
    const chunks = once(saved([{ name: 'x/layer.tar', bytes: base }]))
    await expect(derive({ form: 'docker-archive', diffId: sha256(added), chunks })).rejects.toMatchObject({
      code: 'invalid_argument',
      reason: 'layer_incomplete',
    })
    expect(await scratch()).toEqual([])
  })

  it.each([
    ['leads out', [{ name: '../x', body: 'x' }], 'archive_path_escape'],
    ['writes through a link', [{ name: 'l', type: '2', linkName: '/' }, { name: 'l/x' }], 'archive_symlink_escape'],
    ['is too large', [{ name: 'x', body: Buffer.alloc(2 ** 20) }], 'image_too_large'],
  ])('is refused when its layer %s, and nothing is left', async (_, entries, reason) => {
    await expect(derive({ chunks: once(buildTar(entries)) })).rejects.toMatchObject({ reason })
    await store.collect()
    expect((await readdir(join(dir, 'store/blobs/sha256'))).length).toBe(3)
    expect(await scratch()).toEqual([])
  })

  it('is refused when its layer is cut off, is another than it was said to be, or its source fails', async () => {
    await expect(derive({ chunks: once(added.subarray(0, 1200)) })).rejects.toMatchObject({
      reason: 'archive_truncated',
    })
    await expect(derive({ diffId: sha256(base) })).rejects.toMatchObject({ reason: 'digest_mismatch' })
    async function* failing() {
      yield added.subarray(0, 1024)
      throw new Error('gone')
    }
    await expect(derive({ chunks: failing() })).rejects.toMatchObject({ reason: 'upload_cut' })
    expect(await scratch()).toEqual([])
    expect((await store.list()).images).toHaveLength(1)
  })

  it('is not made when nobody waits for it any more', async () => {
    const abort = new AbortController()
    async function* endless() {
      for (;;) {
        yield Buffer.alloc(65_536)
        abort.abort()
      }
    }
    const layer = { form: 'layer', chunks: endless() } as const
    const progress = new Progress({ signal: abort.signal })
    await expect(store.derive(await store.resolve('base'), layer, 'a test', progress)).rejects.toMatchObject({
      code: 'cancelled',
    })
    expect(await scratch()).toEqual([])
  })

  it('is one that other tools read', async (context) => {
    try {
      execFileSync('skopeo', ['--version'])
    } catch {
      context.skip('skopeo is not installed')
    }
    const { image } = await derive({})
    await store.export(image.digest, `oci-archive:${join(dir, 'x.tar')}:x`, none)
    await writeFile(join(dir, 'policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}')
    const args = ['--policy', join(dir, 'policy.json'), 'copy', `oci-archive:${join(dir, 'x.tar')}:x`, `dir:${dir}/d`]
    execFileSync('skopeo', args)
    expect((await readdir(join(dir, 'd'))).length).toBe(5)
  })
})

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}
