import { type FileHandle, open } from 'node:fs/promises'
import { FRAME_HEADER_BYTES } from '@coppice/protocol/wire'
import type { Segment } from './segments.ts'

export interface SegmentRead {
  /** Whole frames, ready to be sent, in the buffer that was given; the first may have been cut to start at the offset asked for. */
  readonly frames: Buffer
  /** Journal offset after them. */
  readonly nextOffset: number
}

/**
 * Reads one segment file forwards. The file stays open meanwhile: opening it for each read costs four times the read. A segment
 * that is evicted under an open reader can still be read to its end.
 */
export class SegmentReader {
  readonly segment: Segment
  readonly #file: FileHandle
  #position = 0

  private constructor(segment: Segment, file: FileHandle) {
    this.segment = segment
    this.#file = file
  }

  /** Undefined when the file is gone. */
  static async open(segment: Segment, path: string): Promise<SegmentReader | undefined> {
    const file = await open(path, 'r').catch(() => undefined)
    return file && new SegmentReader(segment, file)
  }

  /**
   * Reads frames that hold `offset` and what follows it into `buffer`, which must have room for the largest frame. Offsets must
   * not go back. Resolves to undefined when the file holds less than the segment claims.
   */
  async read(offset: number, buffer: Buffer): Promise<SegmentRead | undefined> {
    while (this.#position < this.segment.fileBytes) {
      const wanted = Math.min(buffer.length, this.segment.fileBytes - this.#position)
      const { bytesRead } = await this.#file.read(buffer, 0, wanted, this.#position)
      const found = framesFrom(buffer.subarray(0, bytesRead), offset)
      if (found.consumed === 0) return undefined
      this.#position += found.consumed
      if (found.frames.length > 0) return found
    }
    return undefined
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}

interface Found extends SegmentRead {
  /** Bytes of whole frames in the chunk, skipped ones included. */
  readonly consumed: number
}

function framesFrom(chunk: Buffer, offset: number): Found {
  let at = 0
  let start = -1
  let nextOffset = offset
  while (chunk.length - at >= FRAME_HEADER_BYTES) {
    const frame = readHeader(chunk, at)
    const end = at + FRAME_HEADER_BYTES + frame.payloadBytes
    if (end > chunk.length) break
    const frameEnd = frame.offset + frame.payloadBytes
    if (frameEnd > offset) {
      if (start < 0) start = frame.offset < offset ? cutFront(chunk, at, frame, offset) : at
      nextOffset = frameEnd
    }
    at = end
  }
  return { frames: start < 0 ? chunk.subarray(0, 0) : chunk.subarray(start, at), nextOffset, consumed: at }
}

/** Makes a frame start at `offset`: its header moves forward over the bytes that are not wanted. Returns where it is then. */
function cutFront(chunk: Buffer, at: number, frame: FrameHeader, offset: number): number {
  const cut = offset - frame.offset
  const start = at + cut
  chunk.copyWithin(start, at, at + FRAME_HEADER_BYTES)
  chunk.writeUInt32BE(frame.payloadBytes - cut, start + 4)
  chunk.writeUInt32BE(Math.floor(offset / 0x1_0000_0000), start + 8)
  chunk.writeUInt32BE(offset >>> 0, start + 12)
  return start
}

/** The header of a frame that lies in a file. */
export interface FrameHeader {
  type: number
  stream: number
  payloadBytes: number
  offset: number
}

export function readHeader(bytes: Buffer, at: number): FrameHeader {
  return {
    type: bytes.readUInt8(at),
    stream: bytes.readUInt8(at + 1),
    payloadBytes: bytes.readUInt32BE(at + 4),
    offset: bytes.readUInt32BE(at + 8) * 0x1_0000_0000 + bytes.readUInt32BE(at + 12),
  }
}
