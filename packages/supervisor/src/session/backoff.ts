const FIRST_MS = 100
const LONGEST_MS = 5_000

/** Steps that a gateway which takes sessions and drops them at once can bring the limit to: 200 ms. */
const MOST_STEPS_WHEN_WELCOME = 1

/** Full jitter: a random time up to a limit that doubles from 100 ms to 5 s. A thousand supervisors do not come back as one. */
export class Backoff {
  #steps = 0
  readonly #random: () => number

  constructor(random: () => number = Math.random) {
    this.#random = random
  }

  /** Milliseconds to wait before the next try. */
  next(): number {
    const limit = Math.min(LONGEST_MS, FIRST_MS * 2 ** this.#steps)
    this.#steps = Math.min(this.#steps + 1, 10)
    return this.#random() * limit
  }

  /** A session was up for `livedMs`. One that lived for a second or more starts all over. */
  sessionEnded(livedMs: number): void {
    this.#steps = livedMs >= 1_000 ? 0 : Math.min(this.#steps, MOST_STEPS_WHEN_WELCOME)
  }
}
