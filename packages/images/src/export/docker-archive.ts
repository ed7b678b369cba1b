import { familiarName, type Progress, parseRegistryReference } from '@coppice/protocol/wire'
import { type Compression, decompressed } from '../compression.ts'
import { ByteProgress } from '../import/byte-progress.ts'
import { hexOf } from '../store/digest.ts'
import type { Layout, ResolvedImage } from '../store/layout.ts'
import type { Descriptor } from '../store/schemas.ts'
import { type ArchiveStream, archiveOf, type BlobPart, blobFile, type Part, smallFile } from './archive-stream.ts'
import { compressionOf } from './stored-layers.ts'

export interface DockerArchiveOptions {
  /** The name that the image shall have there. Default: the one it has here, where Docker allows that. */
  name?: string
  /**
   * Says of a diff id whether the receiver lacks that layer; layers that it has are named and left out, which Docker accepts
   * as long as all layers below are there too. Default: all are in it.
   */
  layersLacking?: (diffId: string) => boolean
  /** A chunk is the reader's until it asks for the next but one. Default: for good. */
  reuseChunks?: boolean
}

/**
 * One image as `docker load` reads it, old engines included. Layers go as they are stored, packed with gzip or not, which
 * every reader knows; what is packed with zstd, which older ones do not, is unpacked on the way, and read once more before
 * that, because a header says the size first.
 */
export async function dockerArchive(
  layout: Layout,
  image: ResolvedImage,
  options: DockerArchiveOptions,
  progress: Progress,
): Promise<ArchiveStream> {
  const lacking = options.layersLacking ?? (() => true)
  const name = options.name ?? image.name
  const configBytes = await layout.blobs.readSmall(image.manifest.config.digest)
  const configName = `${hexOf(image.manifest.config.digest)}.json`
  const manifest = {
    Config: configName,
    RepoTags: name === undefined ? [] : repoTags(name, options.name !== undefined),
    Layers: image.diffIds.map(layerName),
  }
  const parts: Part[] = [
    ...smallFile('manifest.json', JSON.stringify([manifest])),
    ...smallFile(configName, configBytes),
  ]
  const written = new Set<string>()
  for (const [at, diffId] of image.diffIds.entries()) {
    const layer = image.manifest.layers[at]
    if (!layer || written.has(diffId) || !lacking(diffId)) continue
    written.add(diffId)
    parts.push(...blobFile(layerName(diffId), await layerPart(layout, layer, progress)))
  }
  return archiveOf(layout, parts, progress, options.reuseChunks)
}

function layerName(diffId: string): string {
  return `${hexOf(diffId)}.tar`
}

async function layerPart(layout: Layout, layer: Descriptor, progress: Progress): Promise<BlobPart> {
  const compression = await compressionOf(layout.blobs.path(layer.digest))
  if (compression !== 'zstd') return layer
  return { ...layer, unpack: { compression, size: await unpackedSize(layout, layer, compression, progress) } }
}

async function unpackedSize(
  layout: Layout,
  layer: Descriptor,
  compression: Compression,
  progress: Progress,
): Promise<number> {
  const counter = new ByteProgress('Measuring a layer', undefined, progress)
  let size = 0
  for await (const chunk of decompressed(await layout.blobs.read(layer.digest, layer.size), compression)) {
    size += chunk.length
    counter.add(chunk.length)
  }
  return size
}

/** Docker refuses the whole archive for a name that it does not allow. One that was asked for is refused here. */
function repoTags(name: string, asked: boolean): string[] {
  try {
    const reference = parseRegistryReference(name)
    return reference.tag === undefined ? [] : [familiarName({ ...reference, digest: undefined })]
  } catch (error) {
    if (asked) throw error
    return []
  }
}
