import { appendFile, mkdir, open, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { EgressRecord } from '@coppice/protocol'
import { encodeLine } from './line.ts'

/** Bytes of one log file. Two are kept: at about 250 bytes a line, the last 30,000 to 60,000 connections. */
export const MAX_FILE_BYTES = 8 * 1024 * 1024

/** Bytes that may wait for the disk. What does not fit is counted, and the count is written. */
const MAX_WAITING_BYTES = 1024 * 1024

/** The log's files, oldest first. */
export function logFiles(dir: string): [older: string, newer: string] {
  return [join(dir, 'egress.1.jsonl'), join(dir, 'egress.jsonl')]
}

/**
 * Appends lines to a sandbox's log, off the path of the connections: lines wait in memory while the lines before them are
 * written, and then go as one write. Nothing here fails a connection: what cannot be written is counted as dropped.
 */
export class LogWriter {
  readonly #dir: string
  readonly #maxBytes: number
  #waiting: string[] = []
  #waitingBytes = 0
  #dropped = 0
  /** Bytes in the newer file; undefined until it was looked at. */
  #size: number | undefined
  /** What is done with the files, one thing after the other. */
  #turn: Promise<void> = Promise.resolve()
  /** Somebody's turn will write what waits. */
  #awaited = false
  #closed = false

  constructor(dir: string, maxBytes = MAX_FILE_BYTES) {
    this.#dir = dir
    this.#maxBytes = maxBytes
  }

  add(id: string, record: EgressRecord): void {
    if (this.#closed) return
    const line = encodeLine(id, record)
    if (this.#waitingBytes + line.length > MAX_WAITING_BYTES) {
      this.#dropped += 1
      return
    }
    this.#waiting.push(line)
    this.#waitingBytes += line.length
    if (this.#awaited) return
    this.#awaited = true
    this.#turn = this.#turn.then(() => this.#writeAll())
  }

  /** Resolves when all that was added before is in the file (or was dropped). */
  async flush(): Promise<void> {
    await this.#turn
  }

  /** Writes what waits, then does `work` while nothing is written. */
  still<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.then(
      () => {},
      () => {},
    )
    return done
  }

  /** Takes nothing more. Resolves when the rest is written. */
  async close(): Promise<void> {
    this.#closed = true
    await this.flush()
  }

  async #writeAll(): Promise<void> {
    // Not in the turn that added: what else comes in it goes along.
    await new Promise<void>((resolve) => setImmediate(resolve))
    while (this.#waiting.length > 0) {
      const lines = this.#waiting
      this.#waiting = []
      this.#waitingBytes = 0
      if (this.#dropped > 0) lines.push(encodeLine('dropped', droppedRecord(this.#dropped)))
      const dropped = this.#dropped
      this.#dropped = 0
      try {
        await this.#write(lines.join(''))
      } catch {
        // A full disk, a folder that is gone. The size is looked at again: part of the lines may be there.
        this.#size = undefined
        this.#dropped += dropped + lines.length
      }
    }
    this.#awaited = false
  }

  async #write(text: string): Promise<void> {
    const [older, newer] = logFiles(this.#dir)
    let tail = ''
    if (this.#size === undefined) {
      await mkdir(this.#dir, { recursive: true, mode: 0o700 })
      const found = await endOf(newer)
      this.#size = found.size
      // A line that a crash or a full disk cut short must not take the next one with it.
      if (found.cut) tail = '\n'
    }
    const bytes = Buffer.from(tail + text)
    if (this.#size > 0 && this.#size + bytes.length > this.#maxBytes) {
      await rename(newer, older)
      this.#size = 0
    }
    await appendFile(newer, bytes, { mode: 0o600 })
    this.#size += bytes.length
  }
}

async function endOf(path: string): Promise<{ size: number; cut: boolean }> {
  const size = await stat(path).then(
    (found) => found.size,
    () => 0,
  )
  if (size === 0) return { size, cut: false }
  const handle = await open(path, 'r')
  try {
    const last = Buffer.alloc(1)
    await handle.read(last, 0, 1, size - 1)
    return { size, cut: last[0] !== 0x0a }
  } finally {
    await handle.close()
  }
}

function droppedRecord(times: number): EgressRecord {
  const at = Date.now()
  return {
    at,
    kind: 'connection',
    exec: null,
    via: 'connect',
    name: null,
    address: null,
    port: null,
    verdict: 'failed',
    rule: 'not_recorded',
    bytesOut: 0,
    bytesIn: 0,
    endedAt: at,
    end: 'records were dropped: they came faster than the disk takes them, or it took none',
    times,
  }
}
