/** Bytes that may wait in a session's socket before connections stop adding to them: an eighth of what ends the session. */
const MAX_BACKLOG_BYTES = 4 * 1024 * 1024

/** How often a session that is behind is looked at again, milliseconds. It costs a timer for all connections together. */
const LOOK_AGAIN_MS = 5

/**
 * Holds back what is to go to a supervisor while its session is behind. Each stream's window alone does not do that: with 512
 * downloads and a sandbox that is short of CPU, 128 MiB would pile up, and the session is cut at 32.
 */
export class Valve {
  readonly #backlog: () => number
  readonly #waiting = new Set<() => void>()
  #timer: NodeJS.Timeout | undefined

  /** @param backlog bytes that wait in the session's socket. */
  constructor(backlog: () => number) {
    this.#backlog = backlog
  }

  get shut(): boolean {
    return this.#backlog() > MAX_BACKLOG_BYTES
  }

  /** Calls back once when it has opened again. */
  whenOpen(resume: () => void): void {
    this.#waiting.add(resume)
    this.#timer ??= setTimeout(() => this.#look(), LOOK_AGAIN_MS).unref()
  }

  #look(): void {
    this.#timer = undefined
    if (this.shut) {
      this.#timer = setTimeout(() => this.#look(), LOOK_AGAIN_MS).unref()
      return
    }
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const resume of waiting) resume()
  }
}
