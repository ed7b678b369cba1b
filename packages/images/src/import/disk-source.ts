import { createHash } from 'node:crypto'
import { closeSync, openSync, readSync } from 'node:fs'
import { open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { badArchive, errnoOf, storeFault, withStoreFaults } from '../faults.ts'
import { type BlobId, sizeMismatch } from '../store/blob-id.ts'
import type { Intake } from '../store/intake.ts'
import { indexArchive, type Place } from '../tar/archive-index.ts'
import type { ByteProgress } from './byte-progress.ts'
import type { FileSource } from './file-source.ts'

/** Bytes of a file that are read at a time, by a thread that waits for them: 1 MiB. */
const READ_BYTES = 1024 * 1024

/** A layout folder. */
export function folderSource(dir: string): FileSource {
  const size = async (name: string) => {
    try {
      const info = await stat(join(dir, name))
      return info.isFile() ? info.size : undefined
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw storeFault(error, join(dir, name))
    }
  }
  const whole = async (name: string, bytes: number) => {
    const fileSize = await size(name)
    return readSlice(join(dir, name), { start: 0, size: Math.min(bytes, fileSize ?? 0) })
  }
  return {
    spooled: false,
    size,
    read: (name) => withStoreFaults(join(dir, name), () => readFile(join(dir, name))),
    start: whole,
    identify: async (name) => identify(join(dir, name), { start: 0, size: (await size(name)) ?? 0 }),
    intoStore: async (name, id, intake, counter) => {
      const fileSize = (await size(name)) ?? 0
      await copy(join(dir, name), { start: 0, size: fileSize }, id, intake, counter)
    },
    close: async () => undefined,
  }
}

/** An uncompressed archive: its headers are read once, its files by their place. */
export async function archiveSource(path: string): Promise<FileSource> {
  const file = await withStoreFaults(path, () => open(path, 'r'))
  const places = await indexArchive(file).finally(() => file.close())
  const place = (name: string) => places.get(name) ?? { start: 0, size: 0 }
  return {
    spooled: false,
    size: async (name) => places.get(name)?.size,
    read: async (name) => readSlice(path, place(name)),
    start: async (name, bytes) => {
      const { start, size } = place(name)
      return readSlice(path, { start, size: Math.min(bytes, size) })
    },
    identify: (name) => identify(path, place(name)),
    intoStore: (name, id, intake, counter) => copy(path, place(name), id, intake, counter),
    close: async () => undefined,
  }
}

async function copy(path: string, place: Place, id: BlobId, intake: Intake, counter: ByteProgress): Promise<void> {
  if (place.size !== id.size) throw sizeMismatch(id.size, place.size)
  const written = await intake.write(id, function* () {
    for (const chunk of readChunks(path, place)) {
      counter.add(chunk.length)
      yield chunk
    }
  })
  if (!written) counter.add(place.size)
}

async function identify(path: string, place: Place): Promise<BlobId> {
  const hash = createHash('sha256')
  for (const chunk of readChunks(path, place)) {
    hash.update(chunk)
    await turn()
  }
  return { digest: `sha256:${hash.digest('hex')}`, size: place.size }
}

function readSlice(path: string, place: Place): Buffer {
  // The chunks are views on one buffer.
  return Buffer.concat(Array.from(readChunks(path, place), (chunk) => Buffer.from(chunk)))
}

/**
 * The bytes of a part of a file, through one buffer: a chunk is good until the next one. It waits for the disk: for the bulk
 * thread only.
 */
export function* readChunks(path: string, place: Place): Generator<Buffer> {
  const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, place.size))
  const file = faults(path, () => openSync(path, 'r'))
  try {
    const end = place.start + place.size
    for (let at = place.start; at < end; ) {
      const bytes = faults(path, () => readSync(file, buffer, 0, Math.min(buffer.length, end - at), at))
      if (bytes === 0) throw badArchive('archive_truncated', `${path} ends earlier than it said.`)
      at += bytes
      yield buffer.subarray(0, bytes)
    }
  } finally {
    closeSync(file)
  }
}

function faults<R>(path: string, work: () => R): R {
  try {
    return work()
  } catch (error) {
    throw storeFault(error, path)
  }
}
