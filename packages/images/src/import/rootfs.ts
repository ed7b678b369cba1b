import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { CoppiceError, type ImageConfig, type Progress } from '@coppice/protocol/wire'
import { type Compression, decompressed } from '../compression.ts'
import { withStoreFaults } from '../faults.ts'
import type { BlobWriter } from '../store/blob-writer.ts'
import { CHUNK_BYTES } from '../store/blobs.ts'
import type { Hold } from '../store/holds.ts'
import type { Layout } from '../store/layout.ts'
import { type ConfigBlob, type Descriptor, fromImageConfig, hostArchitecture, MediaType } from '../store/schemas.ts'
import { LayerRules } from '../tar/layer-rules.ts'
import { TarScanner } from '../tar/scanner.ts'
import { ByteProgress } from './byte-progress.ts'

export interface RootfsOptions {
  /** What the image says about its programs. */
  config: ImageConfig
  /** Unpacked bytes after which the import is refused. */
  maxUnpackedBytes: number
}

/**
 * Makes an image of one layer from an archive of a root file system. The archive becomes the layer as it is, packed or not;
 * it is read once, and what could not be unpacked safely is refused now. The same archive always gives the same image.
 */
export async function importRootfs(
  layout: Layout,
  path: string,
  compression: Compression,
  options: RootfsOptions,
  hold: Hold,
  progress: Progress,
): Promise<Descriptor> {
  const { size } = await withStoreFaults(path, () => stat(path))
  const writer = await layout.blobs.create(hold)
  try {
    const counter = new ByteProgress('Reading the archive', size, progress)
    const raw = teeInto(createReadStream(path, { highWaterMark: CHUNK_BYTES }), writer, counter)
    const diffId = await checkLayer(decompressed(raw, compression), compression, options.maxUnpackedBytes)
    const layer = await writer.commit({})
    const configBlob: ConfigBlob = {
      architecture: hostArchitecture(),
      os: 'linux',
      config: fromImageConfig(options.config),
      rootfs: { type: 'layers', diff_ids: [diffId ?? layer.digest] },
    }
    const mediaType = compression === 'none' ? MediaType.layer : `${MediaType.layer}+${compression}`
    return await writeImage(layout, [{ mediaType, ...layer }], configBlob, hold)
  } finally {
    await writer.dispose()
  }
}

/** Writes config and manifest of an image whose layers are in the store. */
async function writeImage(
  layout: Layout,
  layers: Descriptor[],
  configBlob: ConfigBlob,
  hold: Hold,
): Promise<Descriptor> {
  const config = await layout.blobs.writeSmall(JSON.stringify(configBlob), hold)
  const manifest = {
    schemaVersion: 2,
    mediaType: MediaType.manifest,
    config: { mediaType: MediaType.config, ...config },
    layers,
  }
  const written = await layout.blobs.writeSmall(JSON.stringify(manifest), hold)
  const platform = { architecture: configBlob.architecture, os: configBlob.os }
  return { mediaType: MediaType.manifest, ...written, platform }
}

async function* teeInto(
  source: AsyncIterable<Buffer>,
  writer: BlobWriter,
  counter: ByteProgress,
): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    await writer.write(chunk)
    counter.add(chunk.length)
    yield chunk
  }
}

/** Reads a layer to its end and refuses what must not be unpacked. Its digest, unless it is that of the packed bytes. */
async function checkLayer(
  chunks: AsyncIterable<Buffer>,
  compression: Compression,
  maxUnpackedBytes: number,
): Promise<string | undefined> {
  const rules = new LayerRules()
  const scanner = new TarScanner((entry) => rules.decide(entry))
  const hash = compression === 'none' ? undefined : createHash('sha256')
  let unpacked = 0
  for await (const chunk of chunks) {
    unpacked += chunk.length
    checkUnpackedSize(unpacked, maxUnpackedBytes)
    hash?.update(chunk)
    scanner.push(chunk)
  }
  scanner.finish()
  return hash && `sha256:${hash.digest('hex')}`
}

/** Throws `resource_exhausted/image_too_large`. */
export function checkUnpackedSize(unpacked: number, limit: number): void {
  if (unpacked <= limit) return
  throw new CoppiceError('resource_exhausted', 'image_too_large', `The image is larger than ${limit} bytes unpacked.`, {
    facts: { limit },
  })
}
