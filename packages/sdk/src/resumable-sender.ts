import { CoppiceError } from '@coppice/protocol/wire'
import { throwIfAborted } from './cancellation.ts'
import type { GatewayConnection, GatewayRequest } from './connection.ts'
import { isResumable, withFacts } from './link-failure.ts'
import { RetryWindow } from './retry-window.ts'
import { SenderLink } from './sender-link.ts'
import { SourcePuller } from './source-puller.ts'
import { UnacknowledgedBytes } from './unacknowledged-bytes.ts'

/** Bytes that may be on their way without an acknowledgement. */
export const SEND_WINDOW_BYTES = 4 * 1024 * 1024
/** Pieces that may be: many tiny writes wait in their source, where they are joined. */
const SEND_WINDOW_PIECES = 4096

export interface SenderTarget<T> {
  /** The request whose body starts at `offset`. */
  request: (offset: number) => GatewayRequest
  /** How many bytes have arrived; `result` when the whole was accepted before. */
  ask: () => Promise<{ acknowledged: number; result?: T }>
  /** The result when the answer ended after all bytes were acknowledged, for answers without a result frame. */
  onEnd?: () => T
  /** Offset of the source's first byte: what went before was sent by somebody else. Default 0. */
  startAt?: number
}

/**
 * Sends a stream of bytes so that each arrives once, over as many connections as it takes. Bytes are kept until they are
 * acknowledged; after a failure of the link the other side is asked what it has and is sent the rest. The source is pulled
 * only while there is room in the window.
 */
export class ResumableSender<T> {
  readonly #connection: GatewayConnection
  readonly #target: SenderTarget<T>
  readonly #source: SourcePuller
  readonly #signal: AbortSignal | undefined
  readonly #window: RetryWindow
  readonly #kept: UnacknowledgedBytes
  #link: SenderLink<T> | undefined
  #somethingToDo: (() => void) | undefined

  constructor(
    connection: GatewayConnection,
    target: SenderTarget<T>,
    source: AsyncIterable<Buffer>,
    signal?: AbortSignal,
  ) {
    this.#connection = connection
    this.#target = target
    this.#signal = signal
    this.#window = new RetryWindow(connection.boundMs, signal)
    this.#kept = new UnacknowledgedBytes(target.startAt ?? 0)
    const onChange = () => {
      this.#somethingToDo?.()
      this.#pump()
    }
    this.#source = new SourcePuller(source, (piece) => this.#kept.append(piece), onChange)
  }

  /** Bytes that have arrived and will not be sent again. */
  get acknowledged(): number {
    return this.#kept.start
  }

  /** Sends all. @throws a typed error with `facts.acknowledged` when it could not; a failing source is `cancelled/source_failed`. */
  async run(): Promise<T> {
    const onAbort = () => this.#somethingToDo?.()
    this.#signal?.addEventListener('abort', onAbort, { once: true })
    try {
      for (;;) {
        await this.#work()
        try {
          return await this.#attempt()
        } catch (error) {
          const done = await this.#recover(error)
          if (done) return done.result
        }
      }
    } catch (error) {
      const failure = CoppiceError.from(error)
      throw withFacts(failure, { acknowledged: this.acknowledged, ...failure.facts })
    } finally {
      this.#signal?.removeEventListener('abort', onAbort)
      this.#source.close()
    }
  }

  /** Waits until there are bytes to send or an end to tell: an idle sender holds no connection that could break. */
  async #work(): Promise<void> {
    while (this.#kept.size === 0 && !this.#source.ended) {
      throwIfAborted(this.#signal)
      this.#source.pull()
      await new Promise<void>((resolve) => {
        this.#somethingToDo = resolve
      })
    }
    if (this.#source.error) throw this.#source.error
  }

  async #attempt(): Promise<T> {
    const request = { ...this.#target.request(this.#kept.start), signal: this.#signal }
    const onRoom = () => this.#pump()
    const onHeard = () => {
      this.#window.succeeded()
      this.#pump()
    }
    const { onEnd } = this.#target
    const link = new SenderLink<T>(this.#connection, request, this.#kept, { onRoom, onHeard, onEnd })
    this.#link = link
    this.#pump()
    try {
      return await link.result
    } finally {
      this.#link = undefined
      link.close()
    }
  }

  /** Writes what the link takes, pulls what the window has room for. */
  #pump(): void {
    const link = this.#link
    if (!link) return
    link.flush()
    if (this.#source.error) {
      link.fail(this.#source.error)
    } else if (this.#source.ended) {
      link.end()
    } else if (!link.blocked && this.#kept.size < SEND_WINDOW_BYTES && this.#kept.count < SEND_WINDOW_PIECES) {
      this.#source.pull()
    }
  }

  /** After a failure: finds out what has arrived. @throws when the failure is final. */
  async #recover(error: unknown): Promise<{ result: T } | undefined> {
    if (!isResumable(error) || this.#connection.neverThere(error)) throw error
    // A program that does not read its input for long gives no sign of life; when the other side answers, all is well.
    if (error.reason !== 'link_silent') await this.#window.next(error)
    for (;;) {
      this.#connection.rediscover()
      try {
        const state = await this.#target.ask()
        if (state.result !== undefined) return { result: state.result }
        // Only progress opens a new window: a gateway that answers questions but breaks every transfer is a failure too.
        if (state.acknowledged > this.#kept.start) this.#window.succeeded()
        this.#kept.resumeAt(state.acknowledged)
        return undefined
      } catch (failure) {
        if (!isResumable(failure)) throw failure
        await this.#window.next(failure)
      }
    }
  }
}
