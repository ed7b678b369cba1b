import { statfsSync } from 'node:fs'
import { type FreeRoom, freeRoom } from '@coppice/limits'
import { CoppiceError } from '@coppice/protocol'

/** Bytes that a start writes before the sandbox's programs do, and a margin: it was seen to fail with 64 KiB on ext4. */
const START_BYTES = 1024 * 1024

/** Files and folders of a start, and a margin. */
const START_INODES = 64

/**
 * Refuses to start a sandbox on a disk that is full: in the middle of it runtimes fail without a reason. A file system that does not
 * say what is free is given a try.
 * @param dir a folder on the disk of the sandboxes' files
 * @throws `resource_exhausted/disk_full` with what is needed and what is free
 */
export function requireRoom(dir: string): void {
  let free: FreeRoom
  try {
    free = freeRoom(statfsSync(dir))
  } catch {
    return
  }
  const { bytes, inodes } = free
  if (bytes !== undefined && bytes < START_BYTES) throw full(dir, 'Bytes', START_BYTES, bytes, 'df -h')
  if (inodes !== undefined && inodes < START_INODES) throw full(dir, 'Inodes', START_INODES, inodes, 'df -i')
}

function full(dir: string, what: 'Bytes' | 'Inodes', needed: number, free: number, command: string): CoppiceError {
  const message = `The disk of ${dir} is full: ${free} ${what.toLowerCase()} are free, and a sandbox needs ${needed}.`
  return new CoppiceError('resource_exhausted', 'disk_full', message, {
    retryable: true,
    facts: { path: dir, [`needed${what}`]: needed, [`free${what}`]: free },
    hint: `${command} ${dir}; coppice image prune`,
  })
}
