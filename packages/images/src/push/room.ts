import { CoppiceError } from '@coppice/protocol/wire'

/**
 * Refuses work for which there is no room, before it begins.
 *
 * @param needed bytes; an engine's own figure is an estimate
 * @param free bytes; null when it cannot be known
 * @throws `resource_exhausted/no_room` with both figures
 */
export function requireRoom(where: string, needed: number, free: number | null, hint: string): void {
  if (free === null || free >= needed) return
  throw new CoppiceError(
    'resource_exhausted',
    'no_room',
    `${where} has ${megabytes(free)} free, the image needs ${megabytes(needed)}.`,
    { facts: { where, neededBytes: needed, freeBytes: free }, hint },
  )
}

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`
