/**
 * One sync for all who ask at about the same time. A sync that has begun may not cover what was done since, so who asks
 * meanwhile gets the next one, together with everybody else who asks until that begins: nobody waits for more than two.
 */
export class SharedSync {
  readonly #sync: () => Promise<void>
  #running: Promise<unknown> | undefined
  #next: Promise<void> | undefined

  constructor(sync: () => Promise<void>) {
    this.#sync = sync
  }

  /** Returns when everything that was done before the call is on the disk. Rejects with what the sync it shares throws. */
  request(): Promise<void> {
    this.#next ??= this.#begin(this.#running)
    return this.#next
  }

  async #begin(before: Promise<unknown> | undefined): Promise<void> {
    await before
    const own = this.#sync()
    this.#next = undefined
    const settled = own
      .catch(() => undefined)
      .finally(() => {
        if (this.#running === settled) this.#running = undefined
      })
    this.#running = settled
    await own
  }
}
