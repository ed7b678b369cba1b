import type { Progress } from '@coppice/protocol/wire'

/** Bytes between two events: often enough for a smooth bar, seldom enough to cost nothing. */
const STEP_BYTES = 4 * 1024 * 1024

/** Counts bytes of one step of work, reports them, and ends the work when its progress has ended. */
export class ByteProgress {
  readonly #message: string
  readonly #total: number | undefined
  readonly #progress: Progress
  #done = 0
  #reported = 0

  /** @param total undefined where nobody knows it beforehand */
  constructor(message: string, total: number | undefined, progress: Progress) {
    this.#message = message
    this.#total = total
    this.#progress = progress
    this.#report()
  }

  /** Negative for what has to be done again. Throws `cancelled` or `deadline_exceeded`. */
  add(bytes: number): void {
    this.#progress.throwIfEnded()
    this.#done += bytes
    if (Math.abs(this.#done - this.#reported) >= STEP_BYTES || this.#done === this.#total) this.#report()
  }

  #report(): void {
    this.#reported = this.#done
    const total = this.#total === undefined ? {} : { total: this.#total }
    this.#progress.report({ message: this.#message, done: this.#done, ...total, unit: 'bytes' })
  }
}
