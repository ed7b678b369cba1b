import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Progress } from '@coppice/protocol/wire'
import { withStoreFaults } from '../faults.ts'
import { ByteProgress } from '../import/byte-progress.ts'
import { blobName } from '../import/oci-source.ts'
import { syncFolder } from '../store/durable.ts'
import type { Layout, ResolvedImage } from '../store/layout.ts'
import { type Descriptor, type Index, MediaType, REF_NAME } from '../store/schemas.ts'
import { BLOCK, encodeHeader, paddedSize } from '../tar/header.ts'

/** An archive that is made while it is read. */
export interface ArchiveStream {
  /** Known beforehand: whoever sends it on can say how long it will be. */
  sizeBytes: number
  /** Chunks of at most 256 KiB, read from the store when they are wanted. */
  chunks: AsyncIterable<Buffer>
}

/**
 * One image as an OCI archive: a tar of a layout that holds this image alone, under its name. The same image under the same
 * name always gives the same bytes.
 */
export function ociArchive(layout: Layout, image: ResolvedImage, progress: Progress): ArchiveStream {
  const segments = [...archiveSegments(image)]
  const sizeBytes = segments.reduce(
    (sum, segment) => sum + (Buffer.isBuffer(segment) ? segment.length : segment.size),
    0,
  )
  return {
    sizeBytes,
    chunks: readSegments(layout, segments, new ByteProgress('Writing the archive', sizeBytes, progress)),
  }
}

/** Writes an archive to a file, which is there when it is whole, or not at all. */
export async function writeArchive(archive: ArchiveStream, target: string): Promise<void> {
  const draft = `${target}.${randomBytes(6).toString('hex')}.part`
  await withStoreFaults(target, async () => {
    const file = await open(draft, 'wx', 0o644)
    try {
      for await (const chunk of archive.chunks) await file.writeFile(chunk)
      await file.sync()
      await rename(draft, target)
    } catch (error) {
      await rm(draft, { force: true })
      throw error
    } finally {
      await file.close()
    }
    await syncFolder(dirname(target))
  })
}

/** What follows what: bytes that are written here, and blobs that are read when it is their turn. */
function* archiveSegments(image: ResolvedImage): Generator<Buffer | Descriptor> {
  const index: Index = { schemaVersion: 2, mediaType: MediaType.index, manifests: [indexEntry(image)] }
  yield* smallFile('oci-layout', '{"imageLayoutVersion":"1.0.0"}')
  yield* smallFile('index.json', JSON.stringify(index))
  yield encodeHeader({ name: 'blobs/', type: '5', size: 0 })
  yield encodeHeader({ name: 'blobs/sha256/', type: '5', size: 0 })
  for (const part of uniqueParts(image)) {
    yield encodeHeader({ name: blobName(part.digest), type: '0', size: part.size })
    yield part
    yield padding(part.size)
  }
  yield Buffer.alloc(2 * BLOCK)
}

/** Only what belongs to the image: where this store has it from is nobody else's business. */
function indexEntry(image: ResolvedImage): Descriptor {
  const { mediaType, digest, size, platform } = image.descriptor
  return {
    mediaType,
    digest,
    size,
    ...(image.name !== undefined && { annotations: { [REF_NAME]: image.name } }),
    ...(platform && { platform }),
  }
}

/** An image may use one layer twice; the archive holds it once. */
function uniqueParts(image: ResolvedImage): Descriptor[] {
  const all = [...image.manifest.layers, image.manifest.config, image.descriptor]
  return [...new Map(all.map((part) => [part.digest, part])).values()]
}

function* smallFile(name: string, text: string): Generator<Buffer> {
  const bytes = Buffer.from(text)
  yield encodeHeader({ name, type: '0', size: bytes.length })
  yield bytes
  yield padding(bytes.length)
}

function padding(size: number): Buffer {
  return Buffer.alloc(paddedSize(size) - size)
}

async function* readSegments(
  layout: Layout,
  segments: (Buffer | Descriptor)[],
  counter: ByteProgress,
): AsyncGenerator<Buffer> {
  for (const segment of segments) {
    const chunks = Buffer.isBuffer(segment) ? [segment] : await layout.blobs.read(segment.digest, segment.size)
    for await (const chunk of chunks) {
      counter.add(chunk.length)
      yield chunk
    }
  }
}
