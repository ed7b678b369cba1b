import { FRAME_HEADER_BYTES, type Gap, StreamId } from '@coppice/protocol/wire'
import { type JournalRecord, MemoryTail } from './memory.ts'
import { readHeader } from './segment-reader.ts'
import { type Segment, Segments } from './segments.ts'

/** Bytes that may wait for the disk beyond the memory part, before whoever writes is asked to pause. */
export const MAX_IN_FLIGHT_BYTES = 4 * 1024 * 1024

/** Output up to this size is kept inside the exec's log record instead of a file of its own. */
export const INLINE_BYTES = 4 * 1024

export interface JournalOptions {
  /** Folder of this journal's files; made when the first is written. */
  readonly dir: string
  readonly memoryBytes: number
  /** 0: nothing goes to disk; what memory cannot hold is evicted. */
  readonly diskBytes: number
}

/** A finished journal as it stands in the exec log. */
export interface JournalRecordMeta {
  readonly end: number
  readonly stdoutBytes: number
  readonly stderrBytes: number
  readonly segments: readonly Segment[]
  readonly lost: readonly Gap[]
  /** Small output as frames, base64. */
  readonly inline?: string
}

/**
 * The output of one exec: records of two streams in one space of offsets. The newest are in memory, older ones in files, the
 * oldest are gone; which bytes are gone, and why, is known exactly. Readers pull (see `JournalReader`) and never slow it.
 */
export class Journal {
  readonly #options: JournalOptions
  readonly memory: MemoryTail
  readonly segments: Segments
  readonly #lost: Gap[]
  readonly #watchers = new Set<() => void>()
  #bytes: [number, number] = [0, 0]
  /** Offsets below are in files or lost; from here on they are in memory alone. */
  #flushed = 0
  #flushing: Promise<void> | undefined
  #finished = false
  #onRelief: (() => void) | undefined

  constructor(options: JournalOptions, restored?: JournalRecordMeta) {
    this.#options = options
    this.segments = new Segments(options.dir, options.diskBytes, restored?.segments)
    this.#lost = restored ? restored.lost.map((gap) => ({ ...gap })) : []
    this.memory = new MemoryTail(restored?.inline === undefined ? (restored?.end ?? 0) : 0)
    if (!restored) return
    if (restored.inline !== undefined) this.#restoreInline(Buffer.from(restored.inline, 'base64'))
    this.#bytes = [restored.stdoutBytes, restored.stderrBytes]
    this.#flushed = restored.end
    this.#finished = true
  }

  /** Offset after the last byte so far. */
  get end(): number {
    return this.memory.end
  }

  /** First offset that a reader can still get. */
  get start(): number {
    const onDisk = this.segments.list.find((segment) => segment.end > segment.start)?.start
    return Math.min(onDisk ?? this.end, this.memory.start)
  }

  get stdoutBytes(): number {
    return this.#bytes[0]
  }

  get stderrBytes(): number {
    return this.#bytes[1]
  }

  /** True when no byte will ever be added. */
  get finished(): boolean {
    return this.#finished
  }

  /** True when the disk is so far behind that whoever writes should wait for `onRelief`. */
  get congested(): boolean {
    return this.memory.cost > this.#options.memoryBytes + MAX_IN_FLIGHT_BYTES
  }

  /** Called each time the disk has caught up after `congested`. */
  set onRelief(callback: () => void) {
    this.#onRelief = callback
  }

  /** Copies a chunk in. */
  append(stream: number, chunk: Buffer): void {
    this.#bytes[stream === StreamId.stderr ? 1 : 0] += chunk.length
    this.memory.append(stream, chunk)
    this.#evict()
    for (const watcher of this.#watchers) watcher()
  }

  /** Calls back whenever there may be more to read. Returns the function that stops it. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }

  /** Tells every reader to look again. */
  wake(): void {
    for (const watcher of this.#watchers) watcher()
  }

  /**
   * Ends the journal: no byte comes after this. Resolves when everything is either small enough to stand in the log record,
   * or in a file, or named as lost; with what the record says.
   */
  async finish(): Promise<JournalRecordMeta> {
    this.#finished = true
    const small = this.#flushed === 0 && !this.#flushing && this.end <= INLINE_BYTES
    const toDisk = !small && this.#options.diskBytes > 0
    if (toDisk) await this.#flushAll()
    await this.segments.close()
    const meta: JournalRecordMeta = {
      end: this.end,
      stdoutBytes: this.stdoutBytes,
      stderrBytes: this.stderrBytes,
      segments: this.segments.list.map((segment) => ({ ...segment })),
      lost: this.#lost.map((gap) => ({ ...gap })),
    }
    if (toDisk && this.#lost.length === 0) this.memory.clear()
    return small ? { ...meta, inline: this.#inlineFrames().toString('base64') } : meta
  }

  async remove(): Promise<void> {
    await this.#flushing
    await this.segments.remove()
  }

  /**
   * The gap that a reader at `offset` meets, or undefined when the byte there is in memory or in a file. Gaps end where
   * something can be read again.
   */
  gapAt(offset: number): Gap | undefined {
    if (offset >= this.memory.start || this.segments.find(offset)) return undefined
    const lost = this.#lost.find((gap) => offset >= gap.from && offset < gap.to)
    if (lost) return { from: offset, to: Math.min(lost.to, this.memory.start), reason: lost.reason }
    const nextSegment = this.segments.list.find((segment) => segment.start > offset)?.start ?? this.memory.start
    const nextLost = this.#lost.find((gap) => gap.from > offset)?.from ?? this.memory.start
    return { from: offset, to: Math.min(nextSegment, nextLost, this.memory.start), reason: 'evicted' }
  }

  #evict(): void {
    const { memoryBytes, diskBytes } = this.#options
    if (this.memory.cost <= memoryBytes) return
    if (diskBytes === 0) this.#flushed = this.end
    this.#dropFlushed()
    // Half of the memory part at once: few, large writes, and the other half is still there for live readers.
    const waiting = this.end - Math.max(this.#flushed, this.memory.start)
    if (diskBytes > 0 && !this.#flushing && (this.memory.cost > memoryBytes || waiting >= memoryBytes / 2)) {
      this.#flushing = this.#flushAll().finally(() => {
        this.#flushing = undefined
      })
    }
  }

  #dropFlushed(): void {
    const { memory } = this
    while (
      memory.cost > this.#options.memoryBytes &&
      memory.start < this.end &&
      memory.firstRecordEnd <= this.#flushed
    ) {
      memory.shift()
    }
  }

  async #flushAll(): Promise<void> {
    if (this.#finished) await this.#flushing
    while (this.#flushed < this.end) {
      const batch = this.memory.slice(Math.max(this.#flushed, this.memory.start), this.segments.batchBytes)
      const last = batch[batch.length - 1] as JournalRecord
      const end = last.offset + last.bytes.length
      try {
        await this.segments.write(batch)
      } catch (error) {
        this.#lose({ from: this.#flushed, to: end, reason: isFull(error) ? 'disk_full' : 'disk_error' })
      }
      this.#flushed = end
      this.#dropFlushed()
      if (!this.congested) this.#onRelief?.()
      if (!this.#finished && this.memory.cost <= this.#options.memoryBytes) return
    }
  }

  #lose(gap: Gap): void {
    const last = this.#lost[this.#lost.length - 1]
    if (last && last.to === gap.from && last.reason === gap.reason) last.to = gap.to
    else this.#lost.push(gap)
  }

  #inlineFrames(): Buffer {
    const frames = Buffer.allocUnsafe(this.memory.frameBytes(this.memory.start, Number.POSITIVE_INFINITY))
    this.memory.encode(this.memory.start, frames)
    return frames
  }

  #restoreInline(frames: Buffer): void {
    for (let at = 0; at < frames.length; ) {
      const { stream, payloadBytes } = readHeader(frames, at)
      const start = at + FRAME_HEADER_BYTES
      this.memory.append(stream, frames.subarray(start, start + payloadBytes))
      at = start + payloadBytes
    }
  }
}

function isFull(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ENOSPC' || code === 'EDQUOT'
}
