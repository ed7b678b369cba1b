import { CoppiceError } from './errors.ts'

/** Media type of a stream of frames. */
export const FRAMES_MEDIA_TYPE = 'application/vnd.coppice.frames'

/** Bytes of a frame's header: `u8 type, u8 stream, u16 zero, u32 payload length, u64 offset`, big endian. */
export const FRAME_HEADER_BYTES = 16

/** The largest payload that a reader accepts, 4 MiB: a hostile header cannot make it allocate more. */
export const MAX_FRAME_PAYLOAD_BYTES = 4 * 1024 * 1024

export const FrameType = {
  /** Output. `offset` is the position of its first byte in the exec's one journal, counted over both streams. */
  data: 1,
  /** Output that is gone. JSON `Gap`; `offset` is where the gap starts, the next data frame has `to`. */
  gap: 2,
  /** The final `ExecResult` as JSON. Always the last frame. */
  result: 3,
  /** An `ErrorBody` as JSON. Always the last frame. */
  error: 4,
  /** Empty. Sent every few seconds on a silent stream, so that a reader can tell silence from a dead link. */
  heartbeat: 5,
  /** `ExecInfo` as JSON. First frame of a started exec. */
  started: 6,
  /** `offset` bytes of a stdin or an upload have arrived and need not be sent again. */
  ack: 7,
} as const

export type FrameTypeValue = (typeof FrameType)[keyof typeof FrameType]

/** `stream` of a data frame. A PTY writes stdout only. */
export const StreamId = { none: 0, stdout: 1, stderr: 2 } as const

export interface Frame {
  type: number
  stream: number
  offset: number
  payload: Buffer
}

/** A range of the journal that can no longer be read, `from` inclusive, `to` exclusive, and why. */
export interface Gap {
  from: number
  to: number
  reason: 'evicted' | 'disk_full' | 'disk_error' | 'supervisor_lost'
}

const EMPTY = Buffer.alloc(0)

/** The 16-byte header alone, for senders that write the payload without copying it. */
export function encodeFrameHeader(type: number, stream: number, offset: number, payloadBytes: number): Buffer {
  const header = Buffer.allocUnsafe(FRAME_HEADER_BYTES)
  header[0] = type
  header[1] = stream
  header.writeUInt16BE(0, 2)
  header.writeUInt32BE(payloadBytes, 4)
  header.writeUInt32BE(Math.floor(offset / 0x1_0000_0000), 8)
  header.writeUInt32BE(offset >>> 0, 12)
  return header
}

/** One frame as one buffer. Copies the payload: use it for small frames. */
export function encodeFrame(type: number, stream: number, offset: number, payload: Uint8Array = EMPTY): Buffer {
  return Buffer.concat([encodeFrameHeader(type, stream, offset, payload.length), payload])
}

/** One frame with a JSON payload. */
export function encodeJsonFrame(type: number, offset: number, value: unknown): Buffer {
  return encodeFrame(type, StreamId.none, offset, Buffer.from(JSON.stringify(value)))
}

/** The payload of a frame that carries JSON. Throws `internal/malformed_frame`. */
export function frameJson<T>(frame: Frame): T {
  try {
    return JSON.parse(frame.payload.toString('utf8')) as T
  } catch (cause) {
    throw new CoppiceError('internal', 'malformed_frame', 'A frame held JSON that could not be read.', { cause })
  }
}

/**
 * Cuts a byte stream into frames. Payloads are views on the pushed chunks where a frame lies in one chunk and copies where
 * it does not. Holds at most one partial frame.
 */
export class FrameDecoder {
  #pending: Buffer[] = []
  #pendingBytes = 0
  #need = FRAME_HEADER_BYTES

  /** Takes a chunk and returns every frame completed by it. Throws `internal/malformed_frame` on an oversized length. */
  push(chunk: Buffer): Frame[] {
    this.#pending.push(chunk)
    this.#pendingBytes += chunk.length
    const frames: Frame[] = []
    while (this.#pendingBytes >= this.#need) {
      const bytes = this.#joined()
      let at = 0
      while (bytes.length - at >= FRAME_HEADER_BYTES) {
        const payloadBytes = bytes.readUInt32BE(at + 4)
        if (payloadBytes > MAX_FRAME_PAYLOAD_BYTES) {
          throw new CoppiceError('internal', 'malformed_frame', `A frame claims ${payloadBytes} bytes of payload.`)
        }
        const end = at + FRAME_HEADER_BYTES + payloadBytes
        if (end > bytes.length) break
        frames.push({
          type: bytes[at] ?? 0,
          stream: bytes[at + 1] ?? 0,
          offset: bytes.readUInt32BE(at + 8) * 0x1_0000_0000 + bytes.readUInt32BE(at + 12),
          payload: bytes.subarray(at + FRAME_HEADER_BYTES, end),
        })
        at = end
      }
      this.#keep(bytes.subarray(at))
    }
    return frames
  }

  /** True when the stream may end here: no frame is half-read. */
  get atBoundary(): boolean {
    return this.#pendingBytes === 0
  }

  #joined(): Buffer {
    const [only] = this.#pending
    return this.#pending.length === 1 && only ? only : Buffer.concat(this.#pending, this.#pendingBytes)
  }

  #keep(rest: Buffer): void {
    this.#pending = rest.length > 0 ? [rest] : []
    this.#pendingBytes = rest.length
    this.#need = FRAME_HEADER_BYTES + (rest.length >= FRAME_HEADER_BYTES ? rest.readUInt32BE(4) : 0)
  }
}
