/** Gives a key up; calling it twice is harmless. */
export type GiveUp = () => void

/**
 * Who works on which blob: one at a time for each key, the others wait for their turn and then look again. A turn ends with
 * `GiveUp`, whatever came of it. Nobody may wait for a turn while others wait for bytes that only he can deliver: an import
 * from a stream asks with `tryTake`.
 */
export class Claims {
  readonly #waiting = new Map<string, (() => void)[]>()

  has(key: string): boolean {
    return this.#waiting.has(key)
  }

  /** Undefined when somebody else has it. */
  tryTake(key: string): GiveUp | undefined {
    if (this.#waiting.has(key)) return undefined
    this.#waiting.set(key, [])
    return this.#turn(key)
  }

  /** Waits for its turn. Rejects with the signal's reason when that is aborted before. */
  async take(key: string, signal: AbortSignal): Promise<GiveUp> {
    const free = this.tryTake(key)
    if (free) return free
    const queue = this.#waiting.get(key) ?? []
    await new Promise<void>((resolve, reject) => {
      const leave = () => {
        queue.splice(queue.indexOf(start), 1)
        reject(signal.reason)
      }
      const start = () => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      if (signal.aborted) {
        reject(signal.reason)
        return
      }
      signal.addEventListener('abort', leave, { once: true })
      queue.push(start)
    })
    return this.#turn(key)
  }

  #turn(key: string): GiveUp {
    let mine = true
    return () => {
      if (!mine) return
      mine = false
      const next = this.#waiting.get(key)?.shift()
      // The key stays taken when it is handed on: nobody can slip in between.
      if (next) next()
      else this.#waiting.delete(key)
    }
  }
}
