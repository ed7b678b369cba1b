import type { FileHandle } from 'node:fs/promises'
import { badArchive } from '../faults.ts'
import { ArchiveNames, cleanName } from './archive-names.ts'
import { BLOCK, paddedSize } from './header.ts'
import { type TarEntry, TarScanner } from './scanner.ts'

/** Where a file's bytes are in an archive. */
export interface Place {
  start: number
  size: number
}

/** Reads only the headers of an uncompressed archive: where is which regular file. */
export async function indexArchive(file: FileHandle): Promise<ArchiveNames<Place>> {
  const places = new ArchiveNames<Place>()
  const { size: total } = await file.stat()
  let at = 0
  let found: TarEntry | undefined
  const scanner = new TarScanner((entry) => {
    found = entry
    return 'drop'
  })
  const block = Buffer.alloc(BLOCK)
  while (at < total) {
    const { bytesRead } = await file.read(block, 0, BLOCK, at)
    if (bytesRead === 0) break
    scanner.push(block.subarray(0, bytesRead))
    at += bytesRead
    if (!found) continue
    if (found.type === '0') places.set(cleanName(found.name), { start: at, size: found.size })
    else places.addLink(found)
    scanner.skipBody()
    at += paddedSize(found.size)
    found = undefined
  }
  if (at > total) throw badArchive('archive_truncated', 'The archive ends in the middle of an entry.')
  scanner.finish()
  return places
}
