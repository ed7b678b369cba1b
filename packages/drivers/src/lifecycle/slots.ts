import type { Progress } from '@coppice/protocol/wire'

/** Lets only so many works run at once; the others wait in the order in which they came. */
export class Slots {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(count: number) {
    this.#free = count
  }

  /** Runs `work` in a free slot. Waiting for one ends with the progress. */
  async run<T>(progress: Progress, work: () => Promise<T>): Promise<T> {
    await this.#enter(progress)
    try {
      return await work()
    } finally {
      this.#leave()
    }
  }

  async #enter(progress: Progress): Promise<void> {
    progress.throwIfEnded()
    if (this.#free > 0) {
      this.#free--
      return
    }
    let enter: () => void = () => {}
    const turn = new Promise<void>((resolve) => {
      enter = resolve
      this.#waiting.push(enter)
    })
    try {
      await progress.race(turn)
    } catch (cause) {
      const place = this.#waiting.indexOf(enter)
      // Not waiting any more: the slot came at the moment of the end, and goes on to the next.
      if (place < 0) this.#leave()
      else this.#waiting.splice(place, 1)
      throw cause
    }
  }

  #leave(): void {
    const next = this.#waiting.shift()
    if (next) next()
    else this.#free++
  }
}
