import type { ClientRequest, IncomingMessage } from 'node:http'
import { CoppiceError, type Frame, FrameType, frameJson } from '@coppice/protocol/wire'
import type { GatewayConnection, GatewayRequest } from './connection.ts'
import { FrameReader } from './frame-reader.ts'
import type { UnacknowledgedBytes } from './unacknowledged-bytes.ts'

export interface SenderLinkEvents<T> {
  /** There is room to send again. */
  onRoom: () => void
  /** The other side gave a sign of life, maybe with an acknowledgement. */
  onHeard: () => void
  /** The result when the answer ended after all bytes were acknowledged, for answers without a result frame. */
  onEnd: (() => T) | undefined
}

/** One request over which bytes are sent, and the acknowledgements that come back on it. */
export class SenderLink<T> {
  /** Resolves with the result; rejects when the link breaks, or with the typed error that the other side gave. */
  readonly result: Promise<T>
  readonly #connection: GatewayConnection
  readonly #kept: UnacknowledgedBytes
  readonly #events: SenderLinkEvents<T>
  readonly #open: ClientRequest
  readonly #settle = Promise.withResolvers<T>()
  /** Offset of the next byte to write. */
  #next: number
  #acknowledged = 0
  #blocked = false
  #ended = false
  #over = false

  constructor(
    connection: GatewayConnection,
    request: GatewayRequest,
    kept: UnacknowledgedBytes,
    events: SenderLinkEvents<T>,
  ) {
    this.#connection = connection
    this.#kept = kept
    this.#events = events
    this.#next = kept.start
    this.#open = connection.open(request)
    this.#open.on('drain', () => {
      this.#blocked = false
      events.onRoom()
    })
    this.result = this.#settle.promise
    connection.answer(this.#open, request).then(
      (response) => this.#read(response),
      (error) => this.fail(error),
    )
  }

  /** The connection takes no more for now. */
  get blocked(): boolean {
    return this.#blocked
  }

  /** Writes what is kept and was not written here yet, as far as the connection takes it. */
  flush(): void {
    this.#acknowledge()
    while (!this.#blocked && this.#next < this.#kept.end) {
      const bytes = this.#kept.from(this.#next)
      this.#next += bytes.length
      this.#blocked = !this.#open.write(bytes)
    }
    this.#acknowledge()
  }

  /** Ends the body cleanly, once everything was written. */
  end(): void {
    if (this.#ended || this.#next < this.#kept.end) return
    this.#ended = true
    this.#open.end()
  }

  /** Gives the link up. */
  fail(error: unknown): void {
    this.close()
    this.#settle.reject(error)
  }

  /** Nothing more is wanted. A body that did not end is cut, so that it is not taken for whole. */
  close(): void {
    this.#over = true
    if (!this.#open.writableFinished) this.#open.destroy()
  }

  #read(response: IncomingMessage): void {
    response.once('end', () => {
      const { onEnd } = this.#events
      if (onEnd && this.#ended && this.#kept.size === 0) this.#settle.resolve(onEnd())
    })
    const reader = new FrameReader(response, this.#connection.stallMs, {
      frame: (frame) => {
        // A link that was given up may still speak: what it says is asked for anyway before the next one is opened.
        if (this.#over) return
        const last = this.#take(frame)
        if (!last) return
        reader.finish()
        this.#settle.resolve(last.result)
      },
      broken: (error) => this.fail(error),
    })
  }

  #take(frame: Frame): { result: T } | undefined {
    if (frame.type === FrameType.result) return { result: frameJson<T>(frame) }
    if (frame.type === FrameType.error) throw CoppiceError.fromBody(frameJson(frame))
    if (frame.type === FrameType.ack) {
      this.#kept.expect(frame.offset)
      this.#acknowledged = Math.max(this.#acknowledged, frame.offset)
    }
    this.#events.onHeard()
    return undefined
  }

  /**
   * Lets go of what has arrived. More may have arrived (over a link before this one) than this link has sent yet: those bytes
   * are kept until they were sent here too, because a body cannot skip; the other side throws them away.
   */
  #acknowledge(): void {
    this.#kept.acknowledge(Math.min(this.#acknowledged, this.#next))
  }
}
