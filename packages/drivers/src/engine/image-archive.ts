import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createZstdDecompress } from 'node:zlib'
import type { Dialect, RequestBody } from '@coppice/engines'
import { BLOCK, encodeHeader, paddedSize } from '@coppice/images'
import type { Progress } from '@coppice/protocol/wire'
import type { LayerBlob } from '../driver.ts'

/**
 * The image that an engine makes containers of: the layers, and nothing of what the image says about its programs. An engine
 * would give its environment to the init (`NODE_OPTIONS`, `LD_PRELOAD`), make volumes outside of the sandbox's files, and run its
 * health checks; the supervisor has all of that from the gateway.
 */
export interface BareImage {
  /** `sha256:` of `config`: what engines call an image by. */
  id: string
  name: string
  config: Buffer
  layers: LayerBlob[]
}

const ARCHITECTURES: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', arm64: 'arm64' }

/** `name`: what it is to be called, once its id is known. `labels`: how its owner finds it again. */
export function bareImage(
  layers: LayerBlob[],
  labels: Record<string, string>,
  name: (id: string) => string,
): BareImage {
  const config = Buffer.from(
    JSON.stringify({
      architecture: ARCHITECTURES[process.arch] ?? process.arch,
      os: 'linux',
      config: { Labels: labels },
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
    }),
  )
  const id = digestOf(config)
  return { id, name: name(id), config, layers }
}

type Segment = { name: string; sizeBytes: number; open: () => Promise<AsyncIterable<Buffer>> }

/**
 * An archive of an image in which layers that the engine has are left out. `lacking`: the places of those in `image.layers`. Its
 * length is known, and its layers are read as it is sent.
 */
export async function imageArchive(
  image: BareImage,
  lacking: ReadonlySet<number>,
  dialect: Dialect,
  progress: Progress,
): Promise<RequestBody & { sizeBytes: number }> {
  const form = dialect.imageArchive === 'docker-archive' ? dockerSegments : ociSegments
  const layers = dialect.takesZstd
    ? image.layers
    : await Promise.all(
        image.layers.map((layer, at) =>
          layer.encoding === 'zstd' && !lacking.has(at) ? unpacked(layer, progress) : layer,
        ),
      )
  const segments = [...form({ ...image, layers }, lacking)]
  const unique = [...new Map(segments.map((segment) => [segment.name, segment])).values()]
  const sizeBytes = unique.reduce((sum, segment) => sum + BLOCK + paddedSize(segment.sizeBytes), 2 * BLOCK)
  return { sizeBytes, chunks: tar(unique) }
}

function* dockerSegments(image: BareImage, lacking: ReadonlySet<number>): Generator<Segment> {
  const configName = `${hex(image.id)}.json`
  const names = image.layers.map(({ diffId }) => `${hex(diffId)}.tar`)
  yield small(configName, image.config)
  for (const [at, layer] of image.layers.entries()) {
    if (!lacking.has(at)) yield { name: names[at] ?? '', ...layer, open: () => layer.open() }
  }
  const manifest = [{ Config: configName, RepoTags: [image.name], Layers: names }]
  yield small('manifest.json', Buffer.from(JSON.stringify(manifest)))
}

const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar'
const SUFFIX = { identity: '', gzip: '+gzip', zstd: '+zstd' }

function* ociSegments(image: BareImage, lacking: ReadonlySet<number>): Generator<Segment> {
  const layers = image.layers.map(({ diffId, digest, sizeBytes: size, encoding }, at) =>
    // One that is left out is named as it is unpacked: the engine may have it from a blob that was packed otherwise.
    lacking.has(at)
      ? { mediaType: LAYER_TYPE, digest: diffId, size }
      : { mediaType: LAYER_TYPE + SUFFIX[encoding], digest, size },
  )
  const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: image.id, size: image.config.length }
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }))
  const annotations = { 'org.opencontainers.image.ref.name': image.name }
  const entry = { mediaType, digest: digestOf(manifest), size: manifest.length, annotations }
  yield small('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}'))
  yield small('index.json', Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [entry] })))
  yield small(blobName(entry.digest), manifest)
  yield small(blobName(image.id), image.config)
  for (const [at, layer] of image.layers.entries()) {
    if (!lacking.has(at)) yield { name: blobName(layer.digest), ...layer, open: () => layer.open() }
  }
}

/** A layer as it is without packing. Its length must be in front of it: it is unpacked once more, to be counted. */
async function unpacked(layer: LayerBlob, progress: Progress): Promise<LayerBlob> {
  const open = async (): Promise<AsyncIterable<Buffer>> => {
    const unpack = createZstdDecompress()
    pipeline(Readable.from(await layer.open()), unpack).catch(() => {})
    return unpack
  }
  let sizeBytes = 0
  for await (const chunk of await open()) {
    progress.throwIfEnded()
    sizeBytes += chunk.length
  }
  return { ...layer, digest: layer.diffId, encoding: 'identity', sizeBytes, open }
}

async function* tar(segments: Segment[]): AsyncGenerator<Buffer> {
  for (const { name, sizeBytes, open } of segments) {
    yield encodeHeader({ name, type: '0', size: sizeBytes })
    yield* await open()
    yield Buffer.alloc(paddedSize(sizeBytes) - sizeBytes)
  }
  yield Buffer.alloc(2 * BLOCK)
}

function small(name: string, bytes: Buffer): Segment {
  return {
    name,
    sizeBytes: bytes.length,
    open: async () =>
      (async function* () {
        yield bytes
      })(),
  }
}

function blobName(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

function hex(digest: string): string {
  return digest.slice(digest.indexOf(':') + 1)
}
