import { setImmediate } from 'node:timers/promises'

/** Synchronous work goes on no longer than this before others may run, milliseconds. */
const SLICE_MS = 5

/** Cuts long synchronous work into slices between which the event loop turns. */
export class Slices {
  #start = performance.now()

  /** True when the slice is used up: then `await next()`. Asking costs less than awaiting each time. */
  isOver(): boolean {
    return performance.now() - this.#start > SLICE_MS
  }

  /** Returns after one turn of the event loop, in a new slice. */
  async next(): Promise<void> {
    await setImmediate()
    this.#start = performance.now()
  }
}
