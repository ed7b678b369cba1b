import {
  CoppiceError,
  FRAME_HEADER_BYTES,
  type Frame,
  FrameType,
  frameJson,
  type Gap,
  MAX_FRAME_PAYLOAD_BYTES,
} from '@coppice/protocol'

/** Pieces that one frame may come in. The longest, in HTTP/2 DATA of 16 KiB, has 256; each piece keeps a whole buffer alive. */
const MAX_PIECES = 1024

/**
 * Follows a stream of frames and hands on only whole ones, without copying payloads. So a client never sees half a frame
 * when the session under it breaks, and the next session can go on from `nextOffset`.
 */
export class FrameCutter {
  /** Journal offset after everything that was handed on. */
  nextOffset: number
  /** True once a result or error frame was handed on: nothing may follow. */
  ended = false
  /** Bytes of the frame that has not ended yet. */
  #held: Buffer[] = []
  /** Its payload so far. */
  #payload: Buffer[] = []
  #header = Buffer.alloc(FRAME_HEADER_BYTES)
  #headerBytes = 0
  #payloadLeft = 0
  readonly #onOutput: (payload: Buffer) => void

  /** @param onOutput is given the output that passes, as views that must be copied to be kept. */
  constructor(from: number, onOutput: (payload: Buffer) => void = () => {}) {
    this.nextOffset = from
    this.#onOutput = onOutput
  }

  /** Drops half a frame: its stream broke and the next one starts at a frame. */
  reset(): void {
    this.#held = []
    this.#payload = []
    this.#headerBytes = 0
    this.#payloadLeft = 0
  }

  /**
   * Takes a chunk and returns what can be handed on, whole frames only.
   * @throws `internal/malformed_frame` when the sandbox sends what cannot be a frame.
   */
  push(chunk: Buffer): Buffer[] {
    let at = 0
    let boundary = 0
    while (at < chunk.length && !this.ended) {
      if (this.#headerBytes < FRAME_HEADER_BYTES) {
        const end = Math.min(at + FRAME_HEADER_BYTES - this.#headerBytes, chunk.length)
        this.#headerBytes += chunk.copy(this.#header, this.#headerBytes, at, end)
        at = end
        if (this.#headerBytes < FRAME_HEADER_BYTES) break
        this.#payloadLeft = payloadBytes(this.#header)
      }
      const end = Math.min(at + this.#payloadLeft, chunk.length)
      if (end > at) this.#payload.push(chunk.subarray(at, end))
      this.#payloadLeft -= end - at
      at = end
      if (this.#payloadLeft === 0) {
        this.#endFrame()
        boundary = at
      }
    }
    if (boundary === 0) {
      this.#held.push(chunk)
      if (this.#held.length <= MAX_PIECES) return []
      throw new CoppiceError('internal', 'malformed_frame', 'The sandbox sent a frame in too many pieces.')
    }
    const whole = [...this.#held, chunk.subarray(0, boundary)]
    this.#held = boundary < chunk.length ? [chunk.subarray(boundary)] : []
    return whole
  }

  #endFrame(): void {
    const type = this.#header[0] ?? 0
    const offset = this.#header.readUInt32BE(8) * 0x1_0000_0000 + this.#header.readUInt32BE(12)
    if (type === FrameType.data) {
      this.nextOffset = offset
      for (const piece of this.#payload) {
        this.nextOffset += piece.length
        this.#onOutput(piece)
      }
    } else if (type === FrameType.gap) {
      const frame: Frame = { type, stream: 0, offset, payload: Buffer.concat(this.#payload) }
      const { to } = frameJson<Gap>(frame)
      if (Number.isSafeInteger(to) && to > this.nextOffset) this.nextOffset = to
    }
    this.ended = type === FrameType.result || type === FrameType.error
    this.#payload = []
    this.#headerBytes = 0
  }
}

function payloadBytes(header: Buffer): number {
  const bytes = header.readUInt32BE(4)
  if (bytes <= MAX_FRAME_PAYLOAD_BYTES) return bytes
  throw new CoppiceError('internal', 'malformed_frame', `The sandbox sent a frame of ${bytes} bytes.`)
}
