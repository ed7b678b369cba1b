/** How far back the rate looks, ms: steady to read, and soon right after a change. */
const WINDOW_MS = 10_000
/** Nothing is said of a rate before this, ms: the first bytes come from buffers. */
const SETTLE_MS = 1_000

/** The speed of one transfer, from what it has done at which time. */
export class TransferRate {
  #samples: { at: number; done: number }[] = []

  /** Bytes a second over the last ten seconds; undefined as long as it cannot be told. */
  add(done: number, at: number): number | undefined {
    // Less than before: a part is done again, and what was is no measure.
    if (done < (this.#samples.at(-1)?.done ?? 0)) this.#samples = []
    this.#samples.push({ at, done })
    while ((this.#samples[1]?.at ?? at) < at - WINDOW_MS) this.#samples.shift()
    const first = this.#samples[0] ?? { at, done }
    const elapsed = at - first.at
    return elapsed < SETTLE_MS ? undefined : ((done - first.done) / elapsed) * 1000
  }
}

/** A length of time for people: `8 s`, `3 min`, `1.5 h`. */
export function timeLeft(seconds: number): string {
  if (seconds < 100) return `${Math.max(1, Math.ceil(seconds))} s`
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`
  return `${(seconds / 3600).toFixed(1)} h`
}
