import { randomBytes } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncFolder } from '@coppice/limits'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { type Compression, decompressed } from '../compression.ts'
import { withStoreFaults } from '../faults.ts'
import { ByteProgress } from '../import/byte-progress.ts'
import type { BlobId } from '../store/blob-id.ts'
import type { Layout } from '../store/layout.ts'
import { BLOCK, encodeHeader, paddedSize } from '../tar/header.ts'

/** An archive that is made while it is read. */
export interface ArchiveStream {
  /** Known beforehand: whoever sends it on can say how long it will be. */
  sizeBytes: number
  /** Chunks of at most 256 KiB, read from the store when they are wanted. */
  chunks: AsyncIterable<Buffer>
}

/** The same of an image that stays in the store until the chunks have ended, however they did, or `release` is called. */
export interface HeldArchive extends ArchiveStream {
  /** For whoever does not read to the end, or has not begun. Calling it twice is harmless. */
  release(): void
}

/** A blob in an archive: as it is, or unpacked to `size` bytes. */
export interface BlobPart extends BlobId {
  unpack?: { compression: Compression; size: number }
}

/** What follows what in an archive: bytes that are written here, and blobs that are read when it is their turn. */
export type Part = Buffer | BlobPart

export function smallFile(name: string, content: string | Buffer): Part[] {
  const bytes = Buffer.from(content)
  return [encodeHeader({ name, type: '0', size: bytes.length }), bytes, padding(bytes.length)]
}

export function blobFile(name: string, blob: BlobPart): Part[] {
  const size = sizeOf(blob)
  return [encodeHeader({ name, type: '0', size }), blob, padding(size)]
}

/**
 * The archive of these parts, with its end.
 * @param reuse a chunk is the reader's until it asks for the next but one: see `reusedChunks`
 */
export function archiveOf(layout: Layout, parts: Part[], progress: Progress, reuse = false): ArchiveStream {
  const all = [...parts, Buffer.alloc(2 * BLOCK)]
  const sizeBytes = all.reduce((sum, part) => sum + sizeOf(part), 0)
  const counter = new ByteProgress('Writing the archive', sizeBytes, progress)
  return { sizeBytes, chunks: readParts(layout, all, counter, reuse) }
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

function sizeOf(part: Part): number {
  return Buffer.isBuffer(part) ? part.length : (part.unpack?.size ?? part.size)
}

function padding(size: number): Buffer {
  return Buffer.alloc(paddedSize(size) - size)
}

async function* readParts(
  layout: Layout,
  parts: Part[],
  counter: ByteProgress,
  reuse: boolean,
): AsyncGenerator<Buffer> {
  for (const part of parts) {
    let bytes = 0
    for await (const chunk of await chunksOf(layout, part, reuse)) {
      bytes += chunk.length
      // A header has said how many come: one too many would be read as the next one.
      if (bytes > sizeOf(part)) throw changed(part)
      counter.add(chunk.length)
      yield chunk
    }
    if (bytes !== sizeOf(part)) throw changed(part)
  }
}

async function chunksOf({ blobs }: Layout, part: Part, reuse: boolean): Promise<AsyncIterable<Buffer> | Buffer[]> {
  if (Buffer.isBuffer(part)) return [part]
  if (part.unpack) return decompressed(await blobs.read(part.digest, part.size), part.unpack.compression)
  return reuse ? blobs.readReusing(part.digest, part.size) : blobs.read(part.digest, part.size)
}

function changed(part: Part): CoppiceError {
  const digest = Buffer.isBuffer(part) ? undefined : part.digest
  return new CoppiceError('internal', 'blob_corrupt', `The blob ${digest} has changed on the disk.`, {
    facts: { digest },
  })
}
