/**
 * The clients that a tied exec lives for. When the last one goes away by its own will, the exec ends; when it is only the
 * session that is lost, the exec waits for `boundMs` for a client to come back.
 */
export class Holders {
  readonly #boundMs: number
  readonly #onGone: () => void
  #count = 0
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(boundMs: number, onGone: () => void) {
    this.#boundMs = boundMs
    this.#onGone = onGone
  }

  /** True when no client holds the exec: the next one that follows it does. */
  get vacant(): boolean {
    return this.#count === 0
  }

  add(): void {
    this.#count += 1
    clearTimeout(this.#timer)
  }

  /** A client has gone: `left` by its own will, `lost` with its session. */
  remove(how: 'left' | 'lost'): void {
    this.#count -= 1
    if (this.#count > 0 || this.#closed) return
    if (how === 'left') this.#onGone()
    else this.#timer = setTimeout(this.#onGone, this.#boundMs)
  }

  /** The exec has ended. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }
}
