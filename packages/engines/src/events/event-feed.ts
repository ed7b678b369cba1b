import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import type { Engine } from '../api/engine.ts'
import { PING_TIMEOUT_MS } from '../api/ping.ts'
import type { EngineEvent } from '../api/types.ts'

/** Milliseconds between tries to reach an engine that is gone: doubled from the first to the second. */
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5000

/** Milliseconds between two signs of life that are asked for: a stream of events may be silent for days. */
const PING_EVERY_MS = 5000

/** Milliseconds by which the past is asked for twice, so that an event at the moment of a cut is not missed. */
const OVERLAP_MS = 1000

/** Whether an engine is there. */
export interface EngineState {
  available: boolean
  /** One sentence. */
  detail: string
  /** Unix milliseconds: since when. */
  since: number
}

export interface EventFeedOptions {
  /** Finds the engine, every time anew: it may come back at another place or in another version. */
  connect: (progress: Progress) => Promise<Engine>
  /** Events about containers, everybody's. */
  onEvent: (event: EngineEvent) => void
  /** Told at every change, and first when it is known whether the engine is there at all. */
  onState: (state: EngineState) => void
  /** See `PING_EVERY_MS`. */
  pingMs?: number
}

/**
 * An engine's events for as long as somebody wants them. It connects again when the engine goes away, asks for what was missed,
 * tells no event twice, and notices an engine that keeps its connections open and answers nobody.
 */
export class EventFeed {
  readonly #options: EventFeedOptions
  readonly #abort = new AbortController()
  readonly #seen = new Seen()
  #state: EngineState | undefined
  #newest: number | undefined

  constructor(options: EventFeedOptions) {
    this.#options = options
    this.#run().catch((cause: unknown) => this.#say(false, CoppiceError.from(cause).message))
  }

  /** Undefined until the first answer, or the first failure. */
  get state(): EngineState | undefined {
    return this.#state
  }

  close(): void {
    this.#abort.abort()
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort
    let retryMs = FIRST_RETRY_MS
    while (!signal.aborted) {
      try {
        const engine = await this.#options.connect(new Progress({ signal }))
        this.#say(true, `${engine.dialect.title} answers at ${engine.socket}.`)
        retryMs = FIRST_RETRY_MS
        await this.#follow(engine)
        throw new CoppiceError('unavailable', 'engine_gone', `${engine.dialect.title} ended its stream of events.`)
      } catch (cause) {
        if (signal.aborted) return
        this.#say(false, CoppiceError.from(cause).message)
      }
      await sleep(retryMs, undefined, { signal, ref: false }).catch(() => {})
      retryMs = Math.min(retryMs * 2, LAST_RETRY_MS)
    }
  }

  /** Until the stream ends or the engine gives no sign of life. */
  async #follow(engine: Engine): Promise<void> {
    const lost = new AbortController()
    const progress = new Progress({ signal: AbortSignal.any([this.#abort.signal, lost.signal]) })
    // Not in the future, when the clock was set back meanwhile.
    const since = this.#newest === undefined ? undefined : Math.min(this.#newest, Date.now()) - OVERLAP_MS
    const alive = this.#ping(engine, lost, progress)
    try {
      const query = { follow: true, ...(since === undefined ? {} : { since }) }
      for await (const event of engine.events(query, progress)) this.#tell(event)
    } finally {
      lost.abort()
      await alive
    }
  }

  async #ping(engine: Engine, lost: AbortController, progress: Progress): Promise<void> {
    const everyMs = this.#options.pingMs ?? PING_EVERY_MS
    for (;;) {
      await sleep(everyMs, undefined, { signal: progress.signal, ref: false }).catch(() => {})
      if (progress.signal.aborted) return
      try {
        await engine.ping(progress.within(Math.min(PING_TIMEOUT_MS, everyMs * 2)))
      } catch (cause) {
        if (progress.signal.aborted) return
        const error = CoppiceError.from(cause)
        const detail = error.code === 'deadline_exceeded' ? `${engine.dialect.title} does not answer.` : error.message
        lost.abort(new CoppiceError('unavailable', 'engine_silent', detail, { cause }))
        return
      }
    }
  }

  #tell(event: EngineEvent): void {
    if (!this.#seen.add(`${event.at} ${event.id} ${event.action}`)) return
    this.#newest = Math.max(this.#newest ?? 0, event.at)
    this.#options.onEvent(event)
  }

  #say(available: boolean, detail: string): void {
    if (this.#state?.available === available) return
    this.#state = { available, detail, since: Date.now() }
    this.#options.onState(this.#state)
  }
}

/** The latest events, so that one that comes again is known. */
class Seen {
  readonly #keys = new Set<string>()

  /** False when it was there. */
  add(key: string): boolean {
    if (this.#keys.has(key)) return false
    this.#keys.add(key)
    const oldest = this.#keys.size > 1000 ? this.#keys.values().next().value : undefined
    if (oldest !== undefined) this.#keys.delete(oldest)
    return true
  }
}
