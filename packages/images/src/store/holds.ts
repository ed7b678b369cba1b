/** Keys that somebody relies on right now, until `release`. */
export interface Hold {
  add(...keys: string[]): void
  /** Calling it twice is harmless. */
  release(): void
}

/**
 * Counts who needs what right now; held things are not garbage. Hold first and look afterwards: the collector checks and
 * removes in one step of the event loop, so that what is still there under a hold stays.
 */
export class Holds {
  readonly #counts = new Map<string, number>()

  open(...keys: string[]): Hold {
    const held: string[] = []
    const hold: Hold = {
      add: (...more) => {
        for (const key of more) this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1)
        held.push(...more)
      },
      release: () => {
        for (const key of held.splice(0)) this.#release(key)
      },
    }
    hold.add(...keys)
    return hold
  }

  has(key: string): boolean {
    return this.#counts.has(key)
  }

  #release(key: string): void {
    const count = (this.#counts.get(key) ?? 1) - 1
    if (count === 0) this.#counts.delete(key)
    else this.#counts.set(key, count)
  }
}
