import { CoppiceError } from './errors.ts'

/** One step of work as people see it: a sentence, and where it makes sense how much of how much is done. */
export interface ProgressEvent {
  message: string
  /** Units done so far, bytes unless `unit` says otherwise. */
  done?: number
  total?: number
  unit?: 'bytes' | 'items'
}

export interface ProgressOptions {
  /** Milliseconds from now after which the work ends with `deadline_exceeded`. Absent: no limit. */
  timeoutMs?: number
  signal?: AbortSignal
  onEvent?: (event: ProgressEvent) => void
}

/**
 * Deadline, abort signal and log in one object. It goes into every operation that waits, so that nothing waits for ever and
 * everything that waits can say what for.
 */
export class Progress {
  readonly signal: AbortSignal
  readonly #onEvent: ((event: ProgressEvent) => void) | undefined

  constructor(options: ProgressOptions = {}) {
    const signals: AbortSignal[] = []
    if (options.signal) signals.push(options.signal)
    if (options.timeoutMs !== undefined) signals.push(AbortSignal.timeout(options.timeoutMs))
    this.signal = signals.length === 1 && signals[0] ? signals[0] : AbortSignal.any(signals)
    this.#onEvent = options.onEvent
  }

  /** A progress that never ends by itself and tells nobody: for start-up work and tests. */
  static none(): Progress {
    return new Progress()
  }

  /** A narrower deadline for one part of the work; events go to the same place. */
  within(timeoutMs: number): Progress {
    const options: ProgressOptions = { timeoutMs, signal: this.signal }
    if (this.#onEvent) options.onEvent = this.#onEvent
    return new Progress(options)
  }

  report(event: ProgressEvent | string): void {
    this.#onEvent?.(typeof event === 'string' ? { message: event } : event)
  }

  /** Throws `deadline_exceeded` or `cancelled` once the work must not go on. */
  throwIfEnded(): void {
    if (this.signal.aborted) throw abortError(this.signal)
  }

  /**
   * Waits for `work` or for the end of this progress, whichever is first. The work itself is not stopped by that: give it
   * `progress.signal` where it can listen.
   */
  async race<T>(work: Promise<T>): Promise<T> {
    this.throwIfEnded()
    let onAbort: (() => void) | undefined
    const ended = new Promise<never>((_, reject) => {
      onAbort = () => reject(abortError(this.signal))
      this.signal.addEventListener('abort', onAbort, { once: true })
    })
    try {
      return await Promise.race([work, ended])
    } finally {
      if (onAbort) this.signal.removeEventListener('abort', onAbort)
    }
  }
}

function abortError(signal: AbortSignal): CoppiceError {
  const cause: unknown = signal.reason
  if (cause instanceof CoppiceError) return cause
  if (cause instanceof DOMException && cause.name === 'TimeoutError') {
    return new CoppiceError('deadline_exceeded', 'deadline_exceeded', 'The operation did not finish in time.', {
      cause,
    })
  }
  return new CoppiceError('cancelled', 'cancelled', 'The operation was cancelled.', { cause })
}
