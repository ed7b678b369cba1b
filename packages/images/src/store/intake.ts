import { linkSync, rmSync, statSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import type { Progress } from '@coppice/protocol/wire'
import { errnoOf, storeFault } from '../faults.ts'
import { BlobDraft } from './blob-draft.ts'
import type { BlobId } from './blob-id.ts'
import { BlobStore } from './blobs.ts'
import { digestOf } from './digest.ts'
import { Partials } from './partials.ts'
import { requireStoreRoom } from './room.ts'
import { Scratch } from './scratch.ts'
import type { StorePort } from './store-desk.ts'

/** Where the parts of a store are, for a job in another thread. */
export interface StoreFolders {
  dir: string
  scratch: string
  partials: string
}

/** What an import moved into the store. */
export interface Transferred {
  /** That were written or came over the network: what had to be downloaded twice counts twice. */
  bytes: number
  blobs: number
}

/** How a job puts blobs into the store: it works in scratch files, and the store puts them in place. */
export class Intake {
  readonly #dir: string
  readonly blobs: BlobStore
  readonly partials: Partials
  readonly transferred: Transferred = { bytes: 0, blobs: 0 }
  readonly #port: StorePort
  readonly #scratch: Scratch
  readonly #progress: Progress

  constructor(folders: StoreFolders, port: StorePort, progress: Progress) {
    this.#dir = folders.dir
    this.blobs = new BlobStore(folders.dir)
    this.partials = new Partials(folders.partials)
    this.#scratch = new Scratch(folders.scratch)
    this.#port = port
    this.#progress = progress
  }

  /**
   * Refuses to begin when what the store lacks of these blobs has no room. What others are downloading counts as far as it has
   * not come. Throws `resource_exhausted/disk_full`.
   */
  async requireRoomFor(blobs: BlobId[]): Promise<void> {
    let needed = 0
    for (const { digest, size } of new Map(blobs.map((blob) => [blob.digest, blob])).values()) {
      if ((await this.blobs.size(digest)) === size) continue
      needed += Math.max(0, size - (await this.partials.size(digest)))
    }
    this.requireRoom(needed, 'what it lacks of the image')
  }

  /** The same for so many bytes, whatever they are. */
  requireRoom(needed: number, what: string): void {
    requireStoreRoom(this.#dir, needed, what)
  }

  /** Bytes of all blobs of the store: no image can have more in common with it. */
  async storedBytes(): Promise<number> {
    let bytes = 0
    for (const digest of await this.blobs.list()) bytes += (await this.blobs.size(digest)) ?? 0
    return bytes
  }

  newPath(): string {
    return this.#scratch.newPath()
  }

  /**
   * Makes sure that the store has a blob. `make` is called when it has not, and when nobody else is making it; it returns a
   * whole, checked and synced scratch file. False: it was there.
   */
  async ensure(id: BlobId, make: () => Promise<string>, progress = this.#progress): Promise<boolean> {
    const claim = this.#port.claim(id, true)
    if ((await progress.race(claim)) !== 'yours') return false
    try {
      await this.place(await make(), id)
      return true
    } finally {
      await this.#port.giveUp(id.digest)
    }
  }

  /** The same for bytes that come as a stream. */
  async write(id: BlobId, chunks: () => AsyncIterable<Buffer> | Iterable<Buffer>): Promise<boolean> {
    return this.ensure(id, async () => {
      this.requireRoom(id.size, 'a layer')
      const draft = BlobDraft.create(this.newPath())
      try {
        await this.fill(draft, chunks())
        await draft.finish(id)
        this.transferred.bytes += id.size
        return draft.path
      } catch (error) {
        await draft.remove()
        throw error
      }
    })
  }

  /** Writes all chunks to a draft. */
  async fill(draft: BlobDraft, chunks: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
    for await (const chunk of chunks) {
      draft.write(chunk)
      // The work blocks its thread: the other jobs in it, and the end of this one, come in between.
      await turn()
      this.#progress.throwIfEnded()
    }
  }

  async writeSmall(bytes: Buffer | string): Promise<BlobId> {
    const buffer = Buffer.from(bytes)
    const id = { digest: digestOf(buffer), size: buffer.length }
    await this.write(id, () => [buffer])
    return id
  }

  /** Puts a whole and synced file in place as a blob, whoever else may be making the same. False: it was there. */
  async place(path: string, id: BlobId): Promise<boolean> {
    const added = await this.#port.place(path, id)
    if (added) this.transferred.blobs++
    return added
  }

  /** The same for a file that stays where it is. */
  async placeCopy(path: string, id: BlobId): Promise<void> {
    const copy = this.newPath()
    try {
      linkSync(path, copy)
    } catch (error) {
      throw storeFault(error, path)
    }
    if (await this.place(copy, id)) this.transferred.bytes += id.size
  }

  /**
   * A second name, in the scratch folder, for a blob that the store has: it stays whatever is collected meanwhile. Undefined
   * when the store has no such blob.
   */
  link(id: BlobId): string | undefined {
    const path = this.newPath()
    try {
      linkSync(this.blobs.path(id.digest), path)
      if (statSync(path).size === id.size) return path
      rmSync(path, { force: true })
    } catch (error) {
      // Without a link the blob is only written once more.
      if (!['ENOENT', 'EMLINK', 'EPERM'].includes(errnoOf(error) ?? '')) throw storeFault(error, path)
    }
    return undefined
  }

  /** A small blob of the store, checked. */
  readSmall(digest: string): Promise<Buffer> {
    return this.blobs.readSmall(digest)
  }
}
