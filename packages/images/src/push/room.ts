import { stat, statfs } from 'node:fs/promises'
import { freeRoom } from '@coppice/limits'
import { CoppiceError } from '@coppice/protocol/wire'
import { inUnits } from '../units.ts'

/** `f_type` of an overlay. */
const OVERLAY_MAGIC = 0x794c7630

/** Room where a folder is. */
export interface Space {
  freeBytes: number
  /** Of the whole file system. */
  totalBytes: number
  /** Number of the file system; null for an overlay, which has one of its own and the figures of what lies below. */
  device: number | null
}

/** Null for file systems that do not say. @throws what the system does, when there is no such folder for this user */
export async function spaceOf(folder: string): Promise<Space | null> {
  const found = await statfs(folder)
  const { type, blocks, bsize } = found
  const { bytes } = freeRoom(found)
  if (bytes === undefined) return null
  const device = type === OVERLAY_MAGIC ? null : (await stat(folder)).dev
  return { freeBytes: bytes, totalBytes: blocks * bsize, device }
}

/** A place that bytes are written to. */
export interface Place {
  /** As people know it. */
  name: string
  /** Null when it cannot be known. */
  space: Space | null
  /** What helps when it is too small: the next command, or the setting. */
  hint: string
}

/**
 * Refuses work for which there is no room, before it begins. Places on one file system need room for all of them.
 *
 * @param needed bytes at each place; an engine's own figure is an estimate
 * @throws `resource_exhausted/no_room` with both figures
 */
export function requireRoom(needed: number, places: Place[]): void {
  for (const place of places) {
    const { space } = place
    if (!space) continue
    const same = places.filter((other) => other.space && isSame(other.space, space))
    if (space.freeBytes < needed * same.length) throw noRoom(needed * same.length, same)
  }
}

/** What a place says that became full although there was room before. */
export function fullOnTheWay(needed: number, place: Place, cause: unknown): CoppiceError {
  const freeBytes = place.space?.freeBytes ?? null
  const now = freeBytes === null ? '' : `, ${inUnits(freeBytes)} are free`
  return new CoppiceError(
    'resource_exhausted',
    'no_room',
    `${place.name} became full on the way: the image needs ${inUnits(needed)}${now}.`,
    { facts: { where: place.name, neededBytes: needed, freeBytes }, hint: place.hint, cause },
  )
}

function isSame(one: Space, other: Space): boolean {
  if (one.device !== null && other.device !== null) return one.device === other.device
  // Nothing says where an overlay is: what is equally large and equally full is taken for one.
  return one.totalBytes === other.totalBytes && one.freeBytes === other.freeBytes
}

function noRoom(needed: number, places: Place[]): CoppiceError {
  const [first] = places as [Place]
  const freeBytes = first.space?.freeBytes ?? 0
  const where = places.map(({ name }) => name).join(' and ')
  const sentence =
    places.length === 1
      ? `${where} has ${inUnits(freeBytes)} free, the image needs ${inUnits(needed)}.`
      : `${where} are on one disk with ${inUnits(freeBytes)} free; the image is there twice and needs ${inUnits(needed)}.`
  return new CoppiceError('resource_exhausted', 'no_room', sentence, {
    facts: { where, neededBytes: needed, freeBytes },
    hint: first.hint,
  })
}
