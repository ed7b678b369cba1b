import { constants, type Stats } from 'node:fs'
import { open } from 'node:fs/promises'
import { errnoOf, isAbsent } from '../faults.ts'

/** A file of somebody else's: its bytes, or why it is none that can be read. */
export type UntrustedFile = { bytes: Buffer; stat: Stats; problem?: undefined } | { bytes?: undefined; problem: string }

/**
 * Reads a file of at most `maxBytes`. No link is followed and nothing makes us wait. Undefined when there is none; throws what
 * keeps this user from reading it.
 */
export async function readUntrusted(path: string, maxBytes: number): Promise<UntrustedFile | undefined> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    const stat = await file.stat()
    if (!stat.isFile()) return { problem: `It is a ${stat.isDirectory() ? 'folder' : 'device or pipe'}, no file.` }
    if (stat.size > maxBytes) return { problem: `It is ${stat.size} bytes long; at most ${maxBytes} are read.` }
    return { bytes: await file.readFile(), stat }
  } catch (error) {
    if (isAbsent(error)) return undefined
    if (errnoOf(error) === 'ELOOP') return { problem: 'It is a symbolic link.' }
    if (errnoOf(error) === 'ENXIO') return { problem: 'It is a socket or a device.' }
    throw error
  }
}
