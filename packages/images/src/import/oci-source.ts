import { createReadStream } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { badArchive, errnoOf, withStoreFaults } from '../faults.ts'
import { CHUNK_BYTES, MAX_JSON_BYTES } from '../store/blobs.ts'
import { hexOf } from '../store/digest.ts'
import { indexArchive } from '../tar/archive-index.ts'

/** An OCI layout that is read: a folder, or a tar archive of one. Names are relative to it. */
export interface OciSource {
  /** Bytes of one of its files, or undefined when it has no such file. */
  size(name: string): Promise<number | undefined>
  stream(name: string): AsyncIterable<Buffer>
  close(): Promise<void>
}

/** The name of a blob in a layout. Throws for anything but a sha256 digest, so that no name can lead out. */
export function blobName(digest: string): string {
  return `blobs/sha256/${hexOf(digest)}`
}

/** A small file as a whole. Throws `invalid_argument/layout_incomplete`. */
export async function readSmall(source: OciSource, name: string): Promise<Buffer> {
  const size = await source.size(name)
  if (size === undefined) throw missing(name)
  if (size > MAX_JSON_BYTES)
    throw badArchive('malformed_image', `${name} of the image has ${size} bytes, which is too large.`)
  const chunks: Buffer[] = []
  for await (const chunk of source.stream(name)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** A part of the layout that is not there. */
export function missing(name: string) {
  return badArchive('layout_incomplete', `The image lacks ${name}.`, { name })
}

export function folderSource(dir: string): OciSource {
  return {
    async size(name) {
      try {
        const info = await stat(join(dir, name))
        return info.isFile() ? info.size : undefined
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return undefined
        return withStoreFaults(join(dir, name), () => Promise.reject(error))
      }
    },
    stream: (name) => createReadStream(join(dir, name), { highWaterMark: CHUNK_BYTES }),
    close: async () => undefined,
  }
}

/** An uncompressed archive: its headers are read once, its files by their place. */
export async function archiveSource(path: string): Promise<OciSource> {
  const file = await withStoreFaults(path, () => open(path, 'r'))
  try {
    const places = await indexArchive(file)
    return {
      size: async (name) => places.get(name)?.size,
      stream: (name) => readRange(file, places.get(name) ?? { start: 0, size: 0 }),
      close: () => file.close(),
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

async function* readRange(file: FileHandle, place: { start: number; size: number }): AsyncGenerator<Buffer> {
  const end = place.start + place.size
  for (let at = place.start; at < end; ) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, end - at))
    const { bytesRead } = await file.read(chunk, 0, chunk.length, at)
    if (bytesRead === 0) throw badArchive('archive_truncated', 'The archive ends in the middle of an entry.')
    at += bytesRead
    yield chunk.subarray(0, bytesRead)
  }
}
