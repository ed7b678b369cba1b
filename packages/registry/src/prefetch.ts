import { close, open, read } from 'node:fs'
import { READ_FLAGS } from './record-file.ts'

/** Files that are fetched at once. More than the thread pool has threads, so that it is never idle. */
export const FETCHED_AT_ONCE = 64

/** A read that takes longer than this, milliseconds, had to wait for the disk: one from the page cache takes 0.02. */
export const FROM_DISK_MS = 0.1

/**
 * Brings small files into the page cache, in parallel and off the event loop. Whatever goes wrong here goes wrong again for
 * whoever reads the file, and is told there.
 */
export async function prefetch(paths: string[]): Promise<void> {
  await Promise.all(paths.map((path) => new Promise<void>((resolve) => fetchOne(path, resolve))))
}

function fetchOne(path: string, done: () => void): void {
  open(path, READ_FLAGS, (missing, file) => {
    if (missing) return done()
    read(file, Buffer.allocUnsafe(1), 0, 1, 0, () => close(file, done))
  })
}
