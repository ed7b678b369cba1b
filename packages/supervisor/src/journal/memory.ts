import { FRAME_HEADER_BYTES, FrameType } from '@coppice/protocol/wire'
import { giveSlab, SLAB_BYTES, type Slab, takeSlab } from './slab-pool.ts'

/** Bytes of one stream that lie together in the journal. `bytes` is a view that is valid as long as the record is held. */
export interface JournalRecord {
  readonly offset: number
  readonly stream: number
  readonly bytes: Buffer
}

interface HeldRecord extends JournalRecord {
  bytes: Buffer
  readonly slab: Slab
}

/**
 * What one record costs besides its bytes, measured as objects and a buffer view. Counting it bounds the memory of a program
 * that writes single bytes to two streams in turn.
 */
const RECORD_COST_BYTES = 160

/** A record never grows beyond this: a reader's buffer of 64 KiB always has room for a whole one. */
export const MAX_RECORD_BYTES = 32 * 1024
const FIRST_SLAB_BYTES = 4 * 1024

/** The newest records of a journal. Offsets have no holes: `start` is the first byte held, `end` the next to come. */
export class MemoryTail {
  #records: HeldRecord[] = []
  #head = 0
  #cost = 0
  #end: number
  #slab: Slab | undefined

  constructor(offset: number) {
    this.#end = offset
  }

  get start(): number {
    return this.#records[this.#head]?.offset ?? this.#end
  }

  get end(): number {
    return this.#end
  }

  /** Bytes of memory held, overhead included. */
  get cost(): number {
    return this.#cost
  }

  /** End of the oldest record, or `end` when there is none. */
  get firstRecordEnd(): number {
    const record = this.#records[this.#head]
    return record ? record.offset + record.bytes.length : this.#end
  }

  /** Copies a chunk in. */
  append(stream: number, chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const { record, slab } = this.#room(stream, chunk.length - at)
      const room = Math.min(slab.bytes.length - slab.used, MAX_RECORD_BYTES - record.bytes.length, chunk.length - at)
      chunk.copy(slab.bytes, slab.used, at, at + room)
      const start = slab.used - record.bytes.length
      slab.used += room
      record.bytes = slab.bytes.subarray(start, slab.used)
      this.#cost += room
      this.#end += room
      at += room
    }
  }

  /** Forgets the oldest record. */
  shift(): void {
    const record = this.#records[this.#head]
    if (!record) return
    this.#forget(record)
    this.#head += 1
    if (this.#head >= 256 && this.#head * 2 > this.#records.length) {
      this.#records = this.#records.slice(this.#head)
      this.#head = 0
    }
  }

  /** Forgets everything; `end` stays. */
  clear(): void {
    for (; this.#head < this.#records.length; this.#head++) this.#forget(this.#records[this.#head] as HeldRecord)
    this.#records = []
    this.#head = 0
    if (this.#slab) giveSlab(this.#slab)
    this.#slab = undefined
  }

  /** Records from `offset` (which must be held) on, the first one cut to start there, at least one and about `maxBytes`. */
  slice(offset: number, maxBytes: number): JournalRecord[] {
    const found: JournalRecord[] = []
    let bytes = 0
    for (let at = this.#indexOf(offset); at < this.#records.length && bytes < maxBytes; at++) {
      const { offset: start, stream, bytes: held } = this.#records[at] as HeldRecord
      const cut = Math.max(0, offset - start)
      found.push({ offset: start + cut, stream, bytes: held.subarray(cut) })
      bytes += held.length - cut
    }
    return found
  }

  /** Bytes that the frames from `offset` on would take, counted up to about `limit`. */
  frameBytes(offset: number, limit: number): number {
    let bytes = 0
    for (let at = this.#indexOf(offset); at < this.#records.length && bytes < limit; at++) {
      const record = this.#records[at] as HeldRecord
      bytes += FRAME_HEADER_BYTES + record.bytes.length - Math.max(0, offset - record.offset)
    }
    return bytes
  }

  /** Copies whole data frames from `offset` on into `target`. Its bytes that are used, and the offset after them. */
  encode(offset: number, target: Buffer): { bytes: number; nextOffset: number } {
    let used = 0
    let nextOffset = offset
    for (let at = this.#indexOf(offset); at < this.#records.length; at++) {
      const record = this.#records[at] as HeldRecord
      const cut = nextOffset - record.offset
      const payloadBytes = record.bytes.length - cut
      if (used + FRAME_HEADER_BYTES + payloadBytes > target.length) break
      writeHeader(target, used, record.stream, nextOffset, payloadBytes)
      record.bytes.copy(target, used + FRAME_HEADER_BYTES, cut)
      used += FRAME_HEADER_BYTES + payloadBytes
      nextOffset += payloadBytes
    }
    return { bytes: used, nextOffset }
  }

  /** The record that the next bytes of a stream go to: the last one while it can grow, else a new one. */
  #room(stream: number, bytes: number): { record: HeldRecord; slab: Slab } {
    const last = this.#records.length > this.#head ? this.#records[this.#records.length - 1] : undefined
    const slab = this.#slab && this.#slab.used < this.#slab.bytes.length ? this.#slab : this.#nextSlab(bytes)
    const grows = last && last.slab === slab && last.stream === stream && last.bytes.length < MAX_RECORD_BYTES
    if (grows) return { record: last, slab }
    const record = { offset: this.#end, stream, bytes: slab.bytes.subarray(slab.used, slab.used), slab }
    slab.records += 1
    this.#records.push(record)
    this.#cost += RECORD_COST_BYTES
    return { record, slab }
  }

  /** Slabs grow with the output: a journal of ten bytes does not take 64 KiB. */
  #nextSlab(bytes: number): Slab {
    const former = this.#slab
    const doubled = former ? former.bytes.length * 2 : FIRST_SLAB_BYTES
    this.#slab = takeSlab(bytes > doubled ? SLAB_BYTES : Math.min(doubled, SLAB_BYTES))
    if (former && former.records === 0) giveSlab(former)
    return this.#slab
  }

  #forget(record: HeldRecord): void {
    this.#cost -= record.bytes.length + RECORD_COST_BYTES
    record.slab.records -= 1
    if (record.slab.records === 0 && record.slab !== this.#slab) giveSlab(record.slab)
  }

  #indexOf(offset: number): number {
    let low = this.#head
    let high = this.#records.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const record = this.#records[middle] as HeldRecord
      if (record.offset + record.bytes.length <= offset) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** A data frame's header in place: `encodeFrameHeader` would make a buffer for each. */
function writeHeader(target: Buffer, at: number, stream: number, offset: number, payloadBytes: number): void {
  target[at] = FrameType.data
  target[at + 1] = stream
  target.writeUInt16BE(0, at + 2)
  target.writeUInt32BE(payloadBytes, at + 4)
  target.writeUInt32BE(Math.floor(offset / 0x1_0000_0000), at + 8)
  target.writeUInt32BE(offset >>> 0, at + 12)
}
