import { closeSync, constants, openSync, readSync } from 'node:fs'

/** Bytes of one record; the kernel refuses a smaller buffer for a longer one. */
const MAX_RECORD_BYTES = 8192

/** Records that are read at most: the kernel's own buffer holds fewer. */
const MAX_RECORDS = 200_000

/**
 * Whether the kernel says in its log that it killed this process of this cgroup for memory. False when it does not say so any
 * more, and undefined when this user may not read the log. Takes some milliseconds.
 *
 * @param group part of the cgroup's path that no other group has
 */
export function killedForMemory(pid: number, group: string): boolean | undefined {
  let log: number
  try {
    log = openSync('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK)
  } catch {
    return undefined
  }
  try {
    const buffer = Buffer.alloc(MAX_RECORD_BYTES)
    for (let count = 0; count < MAX_RECORDS; count++) {
      const record = readRecord(log, buffer)
      if (record === undefined) return false
      if (record.includes('oom-kill:') && record.includes(group) && record.includes(`,pid=${pid},`)) return true
    }
    return false
  } finally {
    closeSync(log)
  }
}

/** The next record, or undefined after the last. One that was overwritten while it was waited for is empty. */
function readRecord(log: number, buffer: Buffer): string | undefined {
  try {
    return buffer.toString('latin1', 0, readSync(log, buffer))
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPIPE' ? '' : undefined
  }
}
