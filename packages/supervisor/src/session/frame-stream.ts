import type { ServerHttp2Stream } from 'node:http2'
import { encodeFrame, FRAMES_MEDIA_TYPE, FrameType, HEARTBEAT_MS, StreamId } from '@coppice/protocol/wire'
import type { Request } from './router.ts'

/** An answer made of frames. Writers wait for the reader; a reader that stalls holds one batch and nobody else. */
export class FrameStream {
  readonly #stream: ServerHttp2Stream
  #wroteSinceBeat = true
  /** Resolves when the stream is over, whoever ended it. */
  readonly closed: Promise<void>

  /** Sends the headers. */
  constructor({ stream, closed }: Pick<Request, 'stream' | 'closed'>) {
    this.#stream = stream
    this.closed = closed
    if (!stream.destroyed) stream.respond({ ':status': 200, 'content-type': FRAMES_MEDIA_TYPE })
    silent.add(this)
    void closed.then(() => silent.remove(this))
  }

  /** Nothing can be written any more. */
  get over(): boolean {
    return this.#stream.destroyed || this.#stream.closed || this.#stream.writableEnded
  }

  /** Writes encoded frames, uncopied. Resolves when they have been sent, so that the buffer is free again, or the reader is gone. */
  write(frames: Buffer): Promise<void> {
    this.#wroteSinceBeat = true
    return new Promise((resolve) => {
      if (this.over) resolve()
      else this.#stream.write(frames, () => resolve())
    })
  }

  /** Writes the last frame, if there is one, and ends. */
  end(last?: Buffer): void {
    if (this.over) return
    this.#stream.end(last)
    // What is left of the request is not wanted, but must not hold the stream open.
    this.#stream.resume()
  }

  /** Says that the link is well, when nothing else has been said for a while and the reader reads. */
  beat(): void {
    if (!this.#wroteSinceBeat && !this.over && !this.#stream.writableNeedDrain) {
      this.#stream.write(HEARTBEAT)
    }
    this.#wroteSinceBeat = false
  }
}

const HEARTBEAT = encodeFrame(FrameType.heartbeat, StreamId.none, 0)

/** One timer for all streams; none while there are no streams. */
class Heartbeats {
  readonly #streams = new Set<FrameStream>()
  #timer: NodeJS.Timeout | undefined

  add(stream: FrameStream): void {
    this.#streams.add(stream)
    this.#timer ??= setInterval(() => {
      for (const each of this.#streams) each.beat()
    }, HEARTBEAT_MS).unref()
  }

  remove(stream: FrameStream): void {
    this.#streams.delete(stream)
    if (this.#streams.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

const silent = new Heartbeats()
