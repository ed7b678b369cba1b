import type { CoppiceError } from '@coppice/protocol/wire'
import { sleep } from './cancellation.ts'
import { withFacts } from './link-failure.ts'

/** Bounds of the full-jitter backoff, milliseconds. */
const FIRST_DELAY_MS = 100
const LONGEST_DELAY_MS = 5_000

/**
 * How long a call goes on trying without success. Time is taken from the wall clock, so that a machine that slept counts its
 * sleep too: a supervisor may have forgotten by then what it was asked.
 */
export class RetryWindow {
  readonly #boundMs: number
  readonly #signal: AbortSignal | undefined
  #since: number | undefined
  #failures = 0

  constructor(boundMs: number, signal?: AbortSignal) {
    this.#boundMs = boundMs
    this.#signal = signal
  }

  /** Starts the clock before any failure: for calls that must not be repeated later than the bound after they were sent. */
  open(): void {
    this.#since ??= Date.now()
  }

  /** The other side answered: the next failure starts a new window, but waits no shorter than this one did. */
  reached(): void {
    this.#since = undefined
  }

  /** The work moved on: the next failure starts a new window from the shortest wait. */
  succeeded(): void {
    this.#since = undefined
    this.#failures = 0
  }

  /**
   * Waits before the next try.
   *
   * @throws `failure` itself, with `facts.boundMs` and `facts.failedForMs`, when the bound has passed; `cancelled` on abort.
   */
  async next(failure: CoppiceError): Promise<void> {
    const now = Date.now()
    this.#since ??= now
    const left = this.#since + this.#boundMs - now
    if (left <= 0) {
      throw withFacts(failure, { boundMs: this.#boundMs, failedForMs: now - this.#since })
    }
    const delay = Math.random() * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.#failures)
    this.#failures += 1
    await sleep(Math.min(delay, left), this.#signal)
  }
}
