import { createReadStream, createWriteStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { type Compression, decompressed } from '../compression.ts'
import { storeFault, withStoreFaults } from '../faults.ts'
import { CHUNK_BYTES } from '../store/blobs.ts'
import type { Hold } from '../store/holds.ts'
import { nameOf } from '../store/index-file.ts'
import type { Layout } from '../store/layout.ts'
import { type Descriptor, parseConfig, parseIndex, parseManifest } from '../store/schemas.ts'
import { ByteProgress } from './byte-progress.ts'
import { chooseNamed, choosePlatform } from './choose-image.ts'
import { archiveSource, blobName, folderSource, missing, type OciSource, readSmall } from './oci-source.ts'
import { checkUnpackedSize } from './rootfs.ts'

const LAYER_TYPE =
  /^application\/vnd\.(oci\.image\.layer\.v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar(\.gzip|\.zstd)?)$/

/** What was copied, and the name that the layout gives it. */
export interface OciImport {
  descriptor: Descriptor
  name: string | undefined
}

/** Copies one image of a layout folder into the store: only the blobs that it lacks. */
export async function importOciFolder(
  layout: Layout,
  path: string,
  ref: string | undefined,
  hold: Hold,
  progress: Progress,
): Promise<OciImport> {
  return copyImage(layout, folderSource(path), ref, hold, progress)
}

/** The same from an archive. A packed one is unpacked into the store's scratch folder first, so that its parts can be found. */
export async function importOciArchive(
  layout: Layout,
  path: string,
  compression: Compression,
  ref: string | undefined,
  maxUnpackedBytes: number,
  hold: Hold,
  progress: Progress,
): Promise<OciImport> {
  if (compression === 'none') return copyAndClose(await archiveSource(path))
  const plain = layout.scratch.newPath()
  try {
    await unpackFile(path, compression, plain, maxUnpackedBytes, progress)
    return await copyAndClose(await archiveSource(plain))
  } finally {
    await rm(plain, { force: true })
  }

  async function copyAndClose(source: OciSource): Promise<OciImport> {
    try {
      return await copyImage(layout, source, ref, hold, progress)
    } finally {
      await source.close()
    }
  }
}

async function unpackFile(
  from: string,
  compression: Compression,
  to: string,
  maxBytes: number,
  progress: Progress,
): Promise<void> {
  const { size } = await withStoreFaults(from, () => stat(from))
  const counter = new ByteProgress('Unpacking the archive', size, progress)
  let unpacked = 0
  async function* counted(source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      counter.add(chunk.length)
      yield chunk
    }
  }
  async function* bounded(source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      unpacked += chunk.length
      checkUnpackedSize(unpacked, maxBytes)
      yield chunk
    }
  }
  const packed = createReadStream(from, { highWaterMark: CHUNK_BYTES })
  try {
    await pipeline(bounded(decompressed(counted(packed), compression)), createWriteStream(to, { mode: 0o600 }))
  } catch (error) {
    throw storeFault(error, to)
  }
}

async function copyImage(
  layout: Layout,
  source: OciSource,
  ref: string | undefined,
  hold: Hold,
  progress: Progress,
): Promise<OciImport> {
  if ((await source.size('oci-layout')) === undefined) throw missing('oci-layout')
  const index = parseIndex(await readSmall(source, 'index.json'), 'index.json of the image')
  const named = chooseNamed(index.manifests, ref)
  const chosen = await choosePlatform(source, named)
  const manifestBytes = await readSmall(source, blobName(chosen.digest))
  const manifest = parseManifest(manifestBytes, `The manifest ${chosen.digest}`)
  for (const layer of manifest.layers) {
    if (!LAYER_TYPE.test(layer.mediaType)) {
      throw new CoppiceError('unsupported', 'layer_type', `Layers of type ${layer.mediaType} cannot be unpacked here.`)
    }
  }
  const parts = [manifest.config, ...manifest.layers]
  const counter = new ByteProgress(
    'Copying layers',
    parts.reduce((sum, part) => sum + part.size, 0),
    progress,
  )
  for (const part of parts) await copyBlob(layout, source, part, hold, counter, progress)
  const written = await layout.blobs.write(once(manifestBytes), chosen, hold, progress)
  const config = parseConfig(await layout.blobs.readSmall(manifest.config.digest), 'The image config')
  const descriptor = {
    mediaType: chosen.mediaType,
    ...written,
    platform: { architecture: config.architecture, os: config.os },
  }
  await layout.load(descriptor)
  return { descriptor, name: nameOf(named) ?? named.annotations?.['io.containerd.image.name'] }
}

async function copyBlob(
  layout: Layout,
  source: OciSource,
  part: Descriptor,
  hold: Hold,
  counter: ByteProgress,
  progress: Progress,
): Promise<void> {
  hold.add(part.digest)
  if ((await layout.blobs.size(part.digest)) === part.size) {
    counter.add(part.size)
    return
  }
  const name = blobName(part.digest)
  if ((await source.size(name)) === undefined) throw missing(name)
  await layout.blobs.write(counting(source.stream(name), counter), part, hold, progress)
}

async function* counting(source: AsyncIterable<Buffer>, counter: ByteProgress): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    counter.add(chunk.length)
    yield chunk
  }
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}
