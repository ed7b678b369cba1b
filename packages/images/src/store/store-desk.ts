import type { BlobId } from './blob-id.ts'
import type { GiveUp } from './claims.ts'
import type { Hold } from './holds.ts'
import type { Layout } from './layout.ts'

/** What a job in the bulk thread asks of the store. Everything else it does in scratch files, by itself. */
export interface StorePort {
  /**
   * Holds a blob and says whether the store has it. `yours`: it has not, and this job alone may make it until `giveUp`.
   * Waits while another job makes it, unless `wait` is false: then the answer is `busy`.
   */
  claim(id: BlobId, wait: boolean): Promise<'have' | 'yours' | 'busy'>
  giveUp(digest: string): Promise<void>
  /** Holds a blob and puts a whole and synced file into its place. False: it was there, and the file is gone. */
  place(path: string, id: BlobId): Promise<boolean>
}

/** One job's counter at the store: what it holds is held by the import it belongs to, what it claims ends with it. */
export class StoreDesk implements StorePort {
  readonly #layout: Layout
  readonly #hold: Hold
  readonly #claims = new Map<string, GiveUp>()
  readonly #closed = new AbortController()

  constructor(layout: Layout, hold: Hold) {
    this.#layout = layout
    this.#hold = hold
  }

  async claim(id: BlobId, wait: boolean): Promise<'have' | 'yours' | 'busy'> {
    // Held first and looked for afterwards: what is there under a hold stays.
    this.#hold.add(id.digest)
    if (await this.#has(id)) return 'have'
    const { claims } = this.#layout
    const giveUp = wait ? await claims.take(id.digest, this.#closed.signal) : claims.tryTake(id.digest)
    if (!giveUp) return 'busy'
    this.#claims.set(id.digest, giveUp)
    if (this.#closed.signal.aborted || (await this.#has(id))) {
      await this.giveUp(id.digest)
      return 'have'
    }
    return 'yours'
  }

  async giveUp(digest: string): Promise<void> {
    this.#claims.get(digest)?.()
    this.#claims.delete(digest)
  }

  place(path: string, id: BlobId): Promise<boolean> {
    this.#hold.add(id.digest)
    return this.#layout.blobs.place(path, id)
  }

  /** Ends every claim and every wait. Call it when the job has ended, however it did. */
  close(): void {
    this.#closed.abort()
    for (const giveUp of this.#claims.values()) giveUp()
    this.#claims.clear()
  }

  async #has(id: BlobId): Promise<boolean> {
    return (await this.#layout.blobs.size(id.digest)) === id.size
  }
}
