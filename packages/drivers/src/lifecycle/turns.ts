/** Work on one sandbox at a time, on different ones at once. */
export class Turns {
  readonly #last = new Map<string, Promise<unknown>>()

  /** Runs `work` when everything asked for before under this id has ended. */
  async take<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(id) ?? Promise.resolve()
    const mine = before.then(work, work)
    this.#last.set(id, mine)
    try {
      return await mine
    } finally {
      if (this.#last.get(id) === mine) this.#last.delete(id)
    }
  }

  /** Resolves when all that was asked for has ended. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#last.values())
  }
}
