import type { Progress } from '@coppice/protocol/wire'

/** Bytes between two events: often enough for a smooth bar, seldom enough to cost nothing. */
const STEP_BYTES = 4 * 1024 * 1024

/** Counts bytes of one step of work, reports them, and ends the work when its progress has ended. */
export class ByteProgress {
  readonly #message: string
  readonly #total: number
  readonly #progress: Progress
  #done = 0
  #reported = 0

  constructor(message: string, total: number, progress: Progress) {
    this.#message = message
    this.#total = total
    this.#progress = progress
    this.#report()
  }

  /** Throws `cancelled` or `deadline_exceeded`. */
  add(bytes: number): void {
    this.#progress.throwIfEnded()
    this.#done += bytes
    if (this.#done - this.#reported >= STEP_BYTES || this.#done === this.#total) this.#report()
  }

  #report(): void {
    this.#reported = this.#done
    this.#progress.report({ message: this.#message, done: this.#done, total: this.#total, unit: 'bytes' })
  }
}
