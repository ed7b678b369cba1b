import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { tailUntrusted } from '../host/untrusted-file.ts'
import type { SandboxFolder } from './folder.ts'

/** The init's log is cut to its last half when it is longer: a sandbox must not fill the host's disk through its standard output. */
const MAX_INIT_LOG_BYTES = 1024 * 1024

/** Opens the init's log for a process that outlives us. Append mode, so that cutting it from outside loses nothing but the cut. */
export function openInitLog(folder: SandboxFolder): number {
  return openSync(folder.initLog, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600)
}

/** Cuts an init's log that has grown beyond its bound. */
export function boundInitLog(folder: SandboxFolder): void {
  let file: number
  try {
    file = openSync(folder.initLog, constants.O_RDWR | constants.O_APPEND)
  } catch {
    return
  }
  try {
    const { size } = fstatSync(file)
    if (size <= MAX_INIT_LOG_BYTES) return
    const tail = Buffer.alloc(MAX_INIT_LOG_BYTES / 2)
    const kept = readSync(file, tail, 0, tail.length, size - tail.length)
    ftruncateSync(file, 0)
    writeSync(file, tail, 0, kept)
  } finally {
    closeSync(file)
  }
}

/** The end of what init and supervisor have written: the init's log, then the supervisor's own, `maxBytes` together. */
export async function readLogs(
  folder: SandboxFolder,
  maxBytes: number,
  readInit: (maxBytes: number) => Promise<Buffer> = (length) => tailUntrusted(folder.initLog, length),
): Promise<Buffer> {
  const supervisor = await tailUntrusted(join(folder.state, 'supervisor.log'), maxBytes)
  const init = await readInit(Math.max(maxBytes - supervisor.length, Math.floor(maxBytes / 4)))
  const both = Buffer.concat([init, supervisor])
  if (both.length <= maxBytes) return both
  return Buffer.concat([init, supervisor.subarray(supervisor.length - (maxBytes - init.length))])
}
