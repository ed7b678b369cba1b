import {
  CoppiceError,
  type ExecInfo,
  type ExecResult,
  type Frame,
  FrameType,
  frameJson,
  type Gap,
} from '@coppice/protocol/wire'
import { abortError } from './cancellation.ts'
import { ANSWER_SLACK_MS, type GatewayConnection, type GatewayRequest } from './connection.ts'
import { FrameReader } from './frame-reader.ts'
import { JournalCursor, type OutputSink } from './journal-cursor.ts'
import { isLinkFailure, withFacts } from './link-failure.ts'
import { RetryWindow } from './retry-window.ts'

export interface FollowerOptions {
  /** The id that was asked for. An exec that ran before under the same key has its own. */
  execId: string
  /** First journal offset wanted. */
  from: number
  /** The call that starts the exec, the same each time; undefined to follow one that was started before. */
  start: ((from: number) => GatewayRequest) | undefined
  /** The call that reads the output from an offset on. */
  follow: (execId: string, from: number) => GatewayRequest
  sink: OutputSink
  /** Milliseconds that it goes on trying without success. Default: the connection's. */
  boundMs?: number | undefined
  signal?: AbortSignal | undefined
}

/**
 * Follows the output of one exec to its result, over as many connections as it takes. Until the exec is known to have
 * started, the same start is asked for again (its key makes sure that it runs once), within the bound counted from the first
 * time, because later its key may have been forgotten; from then on output is read from the first offset that is still missing.
 */
export class OutputFollower {
  /** Resolves when the exec is known to have started. */
  readonly started: Promise<void>
  /** The result; rejects with facts `{execId, offset}`. */
  readonly result: Promise<ExecResult>
  readonly #connection: GatewayConnection
  readonly #options: FollowerOptions
  readonly #window: RetryWindow
  readonly #start = Promise.withResolvers<void>()
  readonly #cancel = new AbortController()
  readonly #signal: AbortSignal
  #reader: FrameReader | undefined
  #running: boolean
  #paused = false
  readonly #cursor: JournalCursor
  #execId: string

  constructor(connection: GatewayConnection, options: FollowerOptions) {
    this.#connection = connection
    this.#options = options
    this.#cursor = new JournalCursor(options.from, options.sink)
    this.#execId = options.execId
    this.#running = options.start === undefined
    this.#signal = options.signal ? AbortSignal.any([options.signal, this.#cancel.signal]) : this.#cancel.signal
    this.#window = new RetryWindow(options.boundMs ?? connection.boundMs, this.#signal)
    this.started = this.#start.promise
    this.started.catch(() => {})
    this.result = this.#run()
    this.result.catch((error) => this.#start.reject(error))
  }

  /** The exec's id; final once `started` resolved. */
  get execId(): string {
    return this.#execId
  }

  /** Journal offset after everything that the sink was given. */
  get offset(): number {
    return this.#cursor.offset
  }

  /** Stops taking output until `resume`. */
  pause(): void {
    this.#paused = true
    this.#reader?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#reader?.resume()
  }

  /** Stops following with `error`; the exec goes on. */
  detach(error: CoppiceError): void {
    this.#cancel.abort(error)
  }

  async #run(): Promise<ExecResult> {
    if (!this.#running) this.#window.open()
    for (;;) {
      try {
        return await this.#attempt()
      } catch (error) {
        if (!isLinkFailure(error) || this.#connection.neverThere(error)) throw this.#located(error)
        await this.#window.next(error).catch((last) => Promise.reject(this.#located(last)))
        this.#connection.rediscover()
      }
    }
  }

  async #attempt(): Promise<ExecResult> {
    const { start, follow, boundMs } = this.#options
    const request = this.#running || !start ? follow(this.#execId, this.#cursor.offset) : start(this.#cursor.offset)
    const signal = this.#signal
    const answerMs = boundMs === undefined ? {} : { answerMs: boundMs + Math.min(boundMs, ANSWER_SLACK_MS) }
    const response = await this.#connection.send({ ...request, ...answerMs, signal })
    if (this.#running) {
      this.#start.resolve()
      this.#window.reached()
    }
    return new Promise<ExecResult>((resolve, reject) => {
      const onAbort = () => {
        reader.cut()
        reject(abortError(signal))
      }
      const settled = () => {
        signal.removeEventListener('abort', onAbort)
        this.#reader = undefined
      }
      const reader = new FrameReader(response, this.#connection.stallMs, {
        frame: (frame) => {
          const last = this.#take(frame)
          if (!last) return
          reader.finish()
          settled()
          if ('result' in last) resolve(last.result)
          else reject(last.error)
        },
        broken: (error) => {
          settled()
          reject(error)
        },
      })
      signal.addEventListener('abort', onAbort, { once: true })
      this.#reader = reader
      if (this.#paused) reader.pause()
    })
  }

  #take(frame: Frame): { result: ExecResult } | { error: CoppiceError } | undefined {
    switch (frame.type) {
      case FrameType.data:
        this.#cursor.data(frame)
        break
      case FrameType.gap:
        this.#cursor.gap(frameJson<Gap>(frame))
        break
      case FrameType.started:
        this.#execId = frameJson<ExecInfo>(frame).id
        this.#running = true
        this.#start.resolve()
        break
      case FrameType.result:
        return this.#cursor.end(frameJson<ExecResult>(frame))
      case FrameType.error:
        return { error: CoppiceError.fromBody(frameJson(frame)) }
      default:
        // A heartbeat only says that all is well; types unknown here are for newer clients.
        break
    }
    if (this.#running) this.#window.succeeded()
    return undefined
  }

  #located(error: unknown): CoppiceError {
    return withFacts(CoppiceError.from(error), { execId: this.#execId, offset: this.#cursor.offset })
  }
}
