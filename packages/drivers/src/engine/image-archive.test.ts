import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { zstdCompressSync } from 'node:zlib'
import { DIALECTS } from '@coppice/engines'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { LayerBlob } from '../driver.ts'
import { bareImage, imageArchive } from './image-archive.ts'

const none = Progress.none()
const sha256 = (bytes: Buffer | string): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

const blob = (text: string, encoding: LayerBlob['encoding'] = 'identity'): LayerBlob => {
  const plain = Buffer.from(text)
  const bytes = encoding === 'zstd' ? zstdCompressSync(plain) : plain
  return {
    diffId: sha256(plain),
    digest: sha256(bytes),
    sizeBytes: bytes.length,
    encoding,
    open: async () =>
      (async function* () {
        yield bytes
      })(),
  }
}

describe('the archive of an image for an engine', () => {
  let dir: string
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'coppice-archive-'))
  })
  afterEach(() => rmSync(dir, { recursive: true }))

  /** What tar finds in it, name → content. */
  const unpack = async (layers: LayerBlob[], lacking: number[], kind: 'docker' | 'podman') => {
    const image = bareImage(layers, { owner: 'us' }, (id) => `name:${id.slice(7, 13)}`)
    const { sizeBytes, chunks } = await imageArchive(image, new Set(lacking), DIALECTS[kind], none)
    const bytes = Buffer.concat(await Array.fromAsync(chunks))
    expect(bytes.length).toBe(sizeBytes)
    const file = join(dir, 'archive.tar')
    writeFileSync(file, bytes)
    const names = execFileSync('tar', ['-tf', file], { encoding: 'utf8' }).trim().split('\n')
    execFileSync('tar', ['-C', dir, '-xf', file])
    return { image, files: new Map(names.map((name) => [name, readFileSync(join(dir, name), 'utf8')])) }
  }
  const json = (files: Map<string, string>, name: string) => JSON.parse(files.get(name) ?? 'null')

  test('for Docker has a manifest that names all layers, and the files of those that it lacks', async () => {
    const layers = [blob('first'), blob('second'), blob('third')]
    const { image, files } = await unpack(layers, [0, 1], 'docker')
    const [manifest] = json(files, 'manifest.json')
    expect(manifest).toMatchObject({ RepoTags: [image.name] })
    expect(manifest.Layers).toHaveLength(3)
    expect(manifest.Layers.map((name: string) => files.get(name))).toEqual([undefined, undefined, 'third'])
    expect(sha256(files.get(manifest.Config) ?? '')).toBe(image.id)
  })

  test('for Podman is a layout with digests that fit, and names what is left out as it is unpacked', async () => {
    const layers = [blob('first', 'zstd'), blob('second', 'zstd')]
    const { image, files } = await unpack(layers, [0], 'podman')
    const [entry] = json(files, 'index.json').manifests
    const at = (digest: string): string => `blobs/${digest.replace(':', '/')}`
    for (const name of files.keys()) {
      if (name.startsWith('blobs/')) expect(sha256(readFileSync(join(dir, name)))).toBe(name.slice(6).replace('/', ':'))
    }
    const manifest = json(files, at(entry.digest))
    expect(manifest.config.digest).toBe(image.id)
    expect(manifest.layers.map(({ digest }: { digest: string }) => digest)).toEqual([
      layers[0]?.diffId,
      layers[1]?.digest,
    ])
    expect(files.has(at(layers[0]?.digest ?? ''))).toBe(false)
  })

  test('for Docker has layers unpacked that it could not unpack', async () => {
    const { files } = await unpack([blob('packed by zstd', 'zstd')], [], 'docker')
    const [manifest] = json(files, 'manifest.json')
    expect(files.get(manifest.Layers[0])).toBe('packed by zstd')
  })

  test('says nothing about programs, and its id is that of its layers alone', async () => {
    const one = bareImage([blob('a'), blob('b')], {}, () => 'x')
    const other = bareImage([blob('a', 'zstd'), blob('b')], {}, () => 'y')
    expect(one.id).toBe(other.id)
    expect(one.id).not.toBe(bareImage([blob('b'), blob('a')], {}, () => 'x').id)
    expect(Object.keys(JSON.parse(one.config.toString()).config)).toEqual(['Labels'])
  })

  test('holds a layer that is there twice once', async () => {
    const { files } = await unpack([blob('same'), blob('same')], [], 'docker')
    expect([...files.values()].filter((text) => text === 'same')).toHaveLength(1)
  })
})
