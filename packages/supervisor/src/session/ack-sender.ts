import { encodeFrame, FrameType, StreamId } from '@coppice/protocol/wire'
import type { FrameStream } from './frame-stream.ts'

/** Tells a sender how far its bytes have arrived: one acknowledgement under way at a time, always the newest. */
export class AckSender {
  readonly #frames: FrameStream
  #newest = -1
  #sending = false

  constructor(frames: FrameStream) {
    this.#frames = frames
  }

  /** `offset` bytes have arrived. Does not wait. */
  send(offset: number): void {
    this.#newest = offset
    if (!this.#sending) void this.#run()
  }

  async #run(): Promise<void> {
    this.#sending = true
    for (let sent = -1; sent !== this.#newest && !this.#frames.over; ) {
      sent = this.#newest
      await this.#frames.write(ackFrame(sent))
    }
    this.#sending = false
  }
}

export function ackFrame(offset: number): Buffer {
  return encodeFrame(FrameType.ack, StreamId.none, offset)
}
