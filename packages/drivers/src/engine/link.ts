import {
  DIALECTS,
  discoverEngine,
  type Engine,
  type EngineKind,
  type FoundEngine,
  type Surroundings,
} from '@coppice/engines'
import { CoppiceError, Progress } from '@coppice/protocol/wire'

/** Milliseconds for finding the engine: a few pings. */
const FIND_TIMEOUT_MS = 15_000

/** Milliseconds for which an engine that has just been silent for seconds is not asked again: callers would queue up for it. */
const SILENT_MS = 2000

/** The engine of a driver: found when it is first needed, kept while it answers, looked for again when it does not. */
export class EngineLink {
  readonly kind: EngineKind
  readonly #surroundings: Surroundings | undefined
  #found: FoundEngine | undefined
  #silent: { error: CoppiceError; until: number } | undefined

  constructor(kind: EngineKind, surroundings: Surroundings | undefined) {
    this.kind = kind
    this.#surroundings = surroundings
  }

  /** As people write it. */
  get title(): string {
    return DIALECTS[this.kind].title
  }

  /** The engine, which has just given a sign of life. Throws what discovery throws: `unavailable`, `unsupported`. */
  async reach(progress: Progress): Promise<Engine> {
    return (await this.find(progress)).engine
  }

  /** The same, with where it was found. */
  async find(progress: Progress): Promise<FoundEngine> {
    const bounded = progress.within(FIND_TIMEOUT_MS)
    if (this.#silent && performance.now() < this.#silent.until) throw this.#silent.error
    if (this.#found) {
      try {
        await this.#found.engine.ping(bounded)
        this.#silent = undefined
        return this.#found
      } catch (cause) {
        progress.throwIfEnded()
        // One that is silent is still the same one: there is no other to look for.
        if (cause instanceof CoppiceError && cause.reason === 'engine_silent') throw this.#remember(cause)
        this.#found = undefined
      }
    }
    return this.#discover(progress, bounded)
  }

  async #discover(progress: Progress, bounded: Progress): Promise<FoundEngine> {
    const began = performance.now()
    try {
      this.#found = await discoverEngine(this.kind, bounded, this.#surroundings)
      this.#silent = undefined
      return this.#found
    } catch (cause) {
      progress.throwIfEnded()
      // One that says at once that it is not there costs nobody anything.
      if (performance.now() - began < SILENT_MS) throw cause
      throw this.#remember(CoppiceError.from(cause))
    }
  }

  #remember(error: CoppiceError): CoppiceError {
    this.#silent = { error, until: performance.now() + SILENT_MS }
    return error
  }
}

/** Milliseconds that a call which makes something is waited for after its progress has ended, so that what it makes is known. */
const LATE_MS = 5000

/**
 * Runs a call that makes or changes something at an engine. It is not cut off when the progress ends: an engine may do what it
 * was asked for after the caller has hung up, and nobody would know.
 */
export async function uncut<T>(progress: Progress, call: (own: Progress) => Promise<T>): Promise<T> {
  progress.throwIfEnded()
  const stop = new AbortController()
  let late: NodeJS.Timeout | undefined
  const ended = (): void => {
    late = setTimeout(() => stop.abort(), LATE_MS)
  }
  progress.signal.addEventListener('abort', ended, { once: true })
  try {
    const result = await call(new Progress({ signal: stop.signal }))
    progress.throwIfEnded()
    return result
  } catch (cause) {
    if (stop.signal.aborted) progress.throwIfEnded()
    throw cause
  } finally {
    clearTimeout(late)
    progress.signal.removeEventListener('abort', ended)
  }
}
