import type { Clock } from '../leaks/sightings.ts'

/** A clock that goes only when somebody waits, and counts how often that was. */
export class CountingClock implements Clock {
  waits = 0
  /** How many have to wait at the same time for it to go: looks that run side by side are then made at the same time. */
  sideBySide = 1
  #at = 0
  #waiting: { until: number; go: () => void }[] = []

  now(): number {
    return this.#at
  }

  async wait(until: number): Promise<void> {
    this.waits += 1
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiting.push({ until, go: resolve })
    if (this.#waiting.length >= this.sideBySide) {
      const all = this.#waiting.splice(0)
      this.#at = Math.max(...all.map(({ until }) => until))
      for (const { go } of all) go()
    }
    return promise
  }

  /** Something else takes this long, milliseconds. */
  pass(ms: number): void {
    this.#at += ms
  }
}
