import { type FileHandle, mkdir, open, rm, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { encodeFrameHeader, FRAME_HEADER_BYTES, FrameType } from '@coppice/protocol/wire'
import type { JournalRecord } from './memory.ts'

/**
 * Bytes of one segment file. Eviction goes by whole segments: 16 MiB keeps at least 98 % of a 1 GiB journal, and finding an
 * offset in one means reading at most that much.
 */
export const SEGMENT_BYTES = 16 * 1024 * 1024

/** One file of a journal: frames exactly as they travel, so that serving them is copying them. */
export interface Segment {
  /** Journal offset of its first byte of output; also its name. */
  readonly start: number
  /** Journal offset after its last. */
  end: number
  /** Bytes of the file that hold whole frames. */
  fileBytes: number
}

/** The part of a journal that is in files. Only one write runs at a time; reads see what whole writes have left. */
export class Segments {
  readonly #dir: string
  readonly #diskBytes: number
  readonly #segmentBytes: number
  #segments: Segment[]
  #open: { segment: Segment; file: FileHandle } | undefined

  /**
   * `diskBytes`: the most that all files of this journal take; the oldest segment goes when it is passed.
   * `segments`: what a former supervisor left, oldest first.
   */
  constructor(dir: string, diskBytes: number, segments: readonly Segment[] = []) {
    this.#dir = dir
    this.#diskBytes = diskBytes
    this.#segmentBytes = Math.max(64 * 1024, Math.min(SEGMENT_BYTES, Math.floor(diskBytes / 4)))
    this.#segments = segments.map((segment) => ({ ...segment }))
  }

  /** The most that one write should bring: with more, eviction would take more than it must. */
  get batchBytes(): number {
    return Math.min(this.#segmentBytes, 1024 * 1024)
  }

  get list(): readonly Segment[] {
    return this.#segments
  }

  /**
   * Appends records. Rejects with the error of the file system when they could not all be written; none of them is then
   * in the file.
   */
  async write(records: readonly JournalRecord[]): Promise<void> {
    const first = records[0]
    const last = records[records.length - 1]
    if (!first || !last) return
    const { segment, file } = await this.#writable(first.offset)
    const buffers: Buffer[] = []
    let bytes = 0
    for (const record of records) {
      buffers.push(encodeFrameHeader(FrameType.data, record.stream, record.offset, record.bytes.length), record.bytes)
      bytes += FRAME_HEADER_BYTES + record.bytes.length
    }
    try {
      await writeWhole(file, buffers, segment.fileBytes)
    } catch (error) {
      await file.truncate(segment.fileBytes).catch(() => {})
      throw error
    }
    segment.fileBytes += bytes
    segment.end = last.offset + last.bytes.length
    await this.#keepBudget()
  }

  /** The segment that holds `offset`, if one does. */
  find(offset: number): Segment | undefined {
    return this.#segments.find((segment) => offset >= segment.start && offset < segment.end)
  }

  path(segment: Segment): string {
    return join(this.#dir, `${segment.start}.seg`)
  }

  /** Closes the file that is written to. What was written stays. */
  async close(): Promise<void> {
    const open = this.#open
    this.#open = undefined
    await open?.file.close()
  }

  async remove(): Promise<void> {
    await this.close()
    this.#segments = []
    await rm(this.#dir, { recursive: true, force: true })
  }

  async #writable(offset: number): Promise<{ segment: Segment; file: FileHandle }> {
    const open_ = this.#open
    if (open_ && open_.segment.fileBytes < this.#segmentBytes && open_.segment.end === offset) return open_
    await this.close()
    const segment: Segment = { start: offset, end: offset, fileBytes: 0 }
    await mkdir(this.#dir, { recursive: true, mode: 0o700 })
    const file = await open(this.path(segment), 'w', 0o600)
    this.#segments.push(segment)
    this.#open = { segment, file }
    return this.#open
  }

  async #keepBudget(): Promise<void> {
    let total = this.#segments.reduce((sum, segment) => sum + segment.fileBytes, 0)
    while (total > this.#diskBytes && this.#segments.length > 1) {
      const oldest = this.#segments.shift() as Segment
      total -= oldest.fileBytes
      await unlink(this.path(oldest)).catch(() => {})
    }
  }
}

async function writeWhole(file: FileHandle, buffers: Buffer[], position: number): Promise<void> {
  let rest: Buffer[] = buffers
  let at = position
  while (rest.length > 0) {
    // The kernel takes at most IOV_MAX (1,024) buffers at once.
    const batch = rest.slice(0, 1024)
    let { bytesWritten } = await file.writev(batch, at)
    at += bytesWritten
    let whole = 0
    while (whole < batch.length && bytesWritten >= (batch[whole] as Buffer).length) {
      bytesWritten -= (batch[whole] as Buffer).length
      whole += 1
    }
    const split = batch[whole]
    rest = split && bytesWritten > 0 ? [split.subarray(bytesWritten), ...rest.slice(whole + 1)] : rest.slice(whole)
  }
}
