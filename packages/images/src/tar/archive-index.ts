import type { FileHandle } from 'node:fs/promises'
import { badArchive } from '../faults.ts'
import { BLOCK, paddedSize } from './header.ts'
import { TarScanner } from './scanner.ts'

/** Files that an archive of an image layout may hold: far more than any has. */
const MAX_FILES = 100_000

/** Where a file's bytes are in an archive. */
export interface Place {
  start: number
  size: number
}

/** Reads only the headers of an uncompressed archive: where is which regular file. Names have no leading `./`. */
export async function indexArchive(file: FileHandle): Promise<Map<string, Place>> {
  const places = new Map<string, Place>()
  const { size: total } = await file.stat()
  let at = 0
  let found: { name: string; size: number; type: string } | undefined
  const scanner = new TarScanner((entry) => {
    found = entry
    return 'drop'
  })
  const block = Buffer.alloc(BLOCK)
  while (at < total) {
    const { bytesRead } = await file.read(block, 0, BLOCK, at)
    scanner.push(block.subarray(0, bytesRead))
    at += bytesRead
    if (!found) continue
    if (found.type === '0') places.set(found.name.replace(/^(\.\/)+/, ''), { start: at, size: found.size })
    if (places.size > MAX_FILES)
      throw badArchive('archive_malformed', 'The archive holds more files than an image layout can.')
    scanner.skipBody()
    at += paddedSize(found.size)
    found = undefined
  }
  if (at > total) throw badArchive('archive_truncated', 'The archive ends in the middle of an entry.')
  scanner.finish()
  return places
}
