import { closeSync, constants, fdatasync, fstatSync, openSync, readSync, renameSync, writeSync } from 'node:fs'
import { promisify } from 'node:util'
import { CoppiceError } from '@coppice/protocol/wire'

const NEWLINE = 0x0a
const CHUNK_BYTES = 1024 * 1024

/**
 * Space that is taken ahead, filled with empty lines: when the disk is full, about a thousand more execs can be logged, enough
 * to clean up with.
 */
const AHEAD_BYTES = 1024 * 1024
const EXTEND_BELOW_BYTES = 512 * 1024

/** Where a record stands in the file. */
export interface RecordPlace {
  readonly position: number
  readonly length: number
}

/** A file of JSON lines that is only added to. A line that was torn by a crash is skipped when it is read. */
export class RecordFile {
  #path: string
  readonly #fd: number
  #end = 0
  #size: number

  /** Opens or makes the file. Read it with `scan` before adding to it. */
  constructor(path: string) {
    this.#path = path
    this.#fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600)
    this.#size = fstatSync(this.#fd).size
  }

  get path(): string {
    return this.#path
  }

  /** Bytes that hold records. */
  get end(): number {
    return this.#end
  }

  /** Calls back for every line that is whole JSON, in order. */
  scan(onRecord: (value: unknown, place: RecordPlace) => void): void {
    let pending = Buffer.alloc(0)
    let pendingAt = 0
    for (let at = 0; at < this.#size; ) {
      const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, this.#size - at))
      const bytes = readSync(this.#fd, chunk, 0, chunk.length, at)
      if (bytes === 0) break
      at += bytes
      pending = Buffer.concat([pending, chunk.subarray(0, bytes)])
      let start = 0
      for (let stop = pending.indexOf(NEWLINE); stop >= 0; stop = pending.indexOf(NEWLINE, start)) {
        if (stop > start) this.#line(pending.subarray(start, stop), pendingAt + start, onRecord)
        start = stop + 1
      }
      pending = pending.subarray(start)
      pendingAt += start
    }
    if (pending.length > 0) this.#end = pendingAt
  }

  /** Adds a record. Throws `resource_exhausted/disk_full` when there is no room, with the file as it was. */
  append(value: object): RecordPlace {
    const line = Buffer.from(`${JSON.stringify(value)}\n`)
    this.#extend(line.length)
    const position = this.#end
    this.#write(line, position)
    this.#end += line.length
    return { position, length: line.length }
  }

  read(place: RecordPlace): unknown {
    return JSON.parse(this.readRaw(place).toString('utf8'))
  }

  readRaw(place: RecordPlace): Buffer {
    const bytes = Buffer.allocUnsafe(place.length)
    readSync(this.#fd, bytes, 0, place.length, place.position)
    return bytes
  }

  /** Adds lines as they are. */
  appendRaw(lines: Buffer): void {
    this.#write(lines, this.#end)
    this.#end += lines.length
  }

  /** Resolves when everything added so far survives a crash of the machine. */
  sync(): Promise<void> {
    return promisify(fdatasync)(this.#fd)
  }

  /** Takes the place of the file at `path`. */
  rename(path: string): void {
    renameSync(this.#path, path)
    this.#path = path
  }

  close(): void {
    closeSync(this.#fd)
  }

  #line(line: Buffer, position: number, onRecord: (value: unknown, place: RecordPlace) => void): void {
    this.#end = position + line.length + 1
    let value: unknown
    try {
      value = JSON.parse(line.toString('utf8'))
    } catch {
      return
    }
    onRecord(value, { position, length: line.length + 1 })
  }

  #extend(need: number): void {
    if (this.#size - this.#end - need >= EXTEND_BELOW_BYTES) return
    try {
      const blank = Buffer.alloc(AHEAD_BYTES + need, NEWLINE)
      this.#size += writeSync(this.#fd, blank, 0, blank.length, this.#size)
    } catch {
      // What was taken ahead earlier is used up first.
    }
  }

  #write(bytes: Buffer, position: number): void {
    try {
      let written = 0
      while (written < bytes.length) {
        written += writeSync(this.#fd, bytes, written, bytes.length - written, position + written)
      }
      this.#size = Math.max(this.#size, position + bytes.length)
    } catch (cause) {
      throw new CoppiceError('resource_exhausted', 'disk_full', 'The exec could not be logged: the disk is full.', {
        cause,
        facts: { errno: (cause as NodeJS.ErrnoException).code },
        hint: 'Free some space: `coppice exec SANDBOX -- df -h` needs room for its own record too.',
      })
    }
  }
}
