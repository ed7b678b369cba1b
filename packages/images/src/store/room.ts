import { statfsSync } from 'node:fs'
import { freeRoom } from '@coppice/limits'
import { CoppiceError } from '@coppice/protocol/wire'
import { MORE_ROOM } from '../faults.ts'
import { inUnits } from '../units.ts'

/**
 * Refuses work for which the store has no room, before it begins. A file system that does not say what is free is given a try.
 *
 * @param dir a folder on the file system of the store
 * @param needed bytes that will certainly be written
 * @param what they are needed for, as it stands in a message
 * @throws `resource_exhausted/disk_full` with both figures
 */
export function requireStoreRoom(dir: string, needed: number, what: string): void {
  const free = freeBytes(dir)
  if (free === undefined || free >= needed) return
  throw new CoppiceError(
    'resource_exhausted',
    'disk_full',
    `The image store in ${dir} has ${inUnits(free)} free, and ${what} needs ${inUnits(needed)}.`,
    { retryable: true, facts: { path: dir, neededBytes: needed, freeBytes: free }, hint: MORE_ROOM },
  )
}

/** Bytes that may still be written where a folder is; undefined when that cannot be known. */
export function freeBytes(dir: string): number | undefined {
  try {
    return freeRoom(statfsSync(dir)).bytes
  } catch {
    return undefined
  }
}
