import { encodeJsonFrame, FrameType, type Gap } from '@coppice/protocol/wire'
import type { Journal } from './journal.ts'
import { SegmentReader } from './segment-reader.ts'

/**
 * Bytes that a reader takes at once, from memory and from files. It has two buffers, one that fills while the other is sent:
 * together they are no more than one stream window.
 */
const MEMORY_BATCH_BYTES = 64 * 1024
const FILE_BATCH_BYTES = 128 * 1024

/** Batches up to this size get a buffer of their own: most readers never need more. */
const SMALL_BYTES = 8 * 1024

/**
 * One reader of a journal, with its own place. It takes from memory while it keeps up and from files when it lags; it is told
 * of every gap exactly once. Journals and other readers never notice it.
 */
export class JournalReader {
  readonly #journal: Journal
  #offset: number
  #file: SegmentReader | undefined
  #buffers: [Buffer, Buffer] | undefined
  #turn = 0

  constructor(journal: Journal, from: number) {
    this.#journal = journal
    this.#offset = from
  }

  /** Offset of the next byte that it will be given. */
  get offset(): number {
    return this.#offset
  }

  /**
   * Frames to send next, never empty; or undefined when everything so far was given. Memory answers at once, files by a
   * promise. An offset beyond the end waits. What it gives is valid until the next but one call.
   */
  next(): Buffer | undefined | Promise<Buffer | undefined> {
    const { memory } = this.#journal
    if (this.#offset >= memory.end) return undefined
    if (this.#offset < memory.start) return this.#fromFiles()
    if (this.#file) void this.#closeFile()
    const wanted = memory.frameBytes(this.#offset, SMALL_BYTES)
    const target = wanted <= SMALL_BYTES ? Buffer.allocUnsafe(wanted) : this.#buffer(MEMORY_BATCH_BYTES)
    const { bytes, nextOffset } = memory.encode(this.#offset, target)
    this.#offset = nextOffset
    return target.subarray(0, bytes)
  }

  /** Gives its open file back. Nothing is read after that. */
  async close(): Promise<void> {
    await this.#closeFile()
  }

  async #fromFiles(): Promise<Buffer | undefined> {
    const read = await (await this.#fileAt(this.#offset))?.read(this.#offset, this.#buffer(FILE_BATCH_BYTES))
    if (read) {
      this.#offset = read.nextOffset
      return read.frames
    }
    const gap = this.#journal.gapAt(this.#offset) ?? this.#unreadable()
    if (!gap) return this.next()
    const frame = encodeJsonFrame(FrameType.gap, gap.from, gap)
    this.#offset = gap.to
    return frame
  }

  /** A segment that is listed but whose file cannot be read: somebody deleted or cut it. */
  #unreadable(): Gap | undefined {
    const segment = this.#journal.segments.find(this.#offset)
    const { memory } = this.#journal
    if (!segment || this.#offset >= memory.start) return undefined
    return { from: this.#offset, to: Math.min(segment.end, memory.start), reason: 'disk_error' }
  }

  /** The open file that holds an offset, as the journal lists it or, evicted meanwhile, as it was opened. */
  async #fileAt(offset: number): Promise<SegmentReader | undefined> {
    const open = this.#file
    if (open && offset >= open.segment.start && offset < open.segment.end) return open
    await this.#closeFile()
    const { segments } = this.#journal
    const segment = segments.find(offset)
    this.#file = segment && (await SegmentReader.open(segment, segments.path(segment)))
    return this.#file
  }

  async #closeFile(): Promise<void> {
    const file = this.#file
    this.#file = undefined
    await file?.close()
  }

  #buffer(size: number): Buffer {
    if (this.#buffers?.[0].length !== size) {
      this.#buffers = [Buffer.allocUnsafeSlow(size), Buffer.allocUnsafeSlow(size)]
    }
    this.#turn = 1 - this.#turn
    return this.#buffers[this.#turn] as Buffer
  }
}
