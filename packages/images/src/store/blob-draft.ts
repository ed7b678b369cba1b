import { createHash, type Hash } from 'node:crypto'
import { closeSync, fdatasync, fstatSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Progress } from '@coppice/protocol/wire'
import { storeFault } from '../faults.ts'
import { type BlobId, checkBlob } from './blob-id.ts'

/** Bytes after which what was written is sent on to the disk, so that the last sync, and everybody else's, stays short. */
const FLUSH_BYTES = 32 * 1024 * 1024

const REREAD_BYTES = 1024 * 1024

const sync = promisify(fdatasync)

/**
 * A blob that is being written to a scratch file. For the bulk thread: it blocks its thread while it writes and hashes,
 * which costs no thread of the pool that everything else in the process shares.
 */
export class BlobDraft {
  readonly path: string
  readonly #file: number
  #hash: Hash
  #size: number
  #unsynced = 0
  #flush: Promise<void> | undefined
  #open = true

  private constructor(path: string, file: number, hash: Hash, size: number) {
    this.path = path
    this.#file = file
    this.#hash = hash
    this.#size = size
  }

  /** A new file. */
  static create(path: string, mode = 0o600): BlobDraft {
    return faults(path, () => new BlobDraft(path, openSync(path, 'wx', mode), createHash('sha256'), 0))
  }

  /**
   * Goes on with a file that may be there, which is read again for its hash. One of more than `limit` bytes is begun anew.
   */
  static async resume(path: string, limit: number, progress: Progress): Promise<BlobDraft> {
    const file = faults(path, () => openSync(path, 'a+', 0o600))
    try {
      const hash = createHash('sha256')
      let size = faults(path, () => fstatSync(file).size)
      if (size > limit) {
        ftruncateSync(file, 0)
        size = 0
      }
      const buffer = Buffer.allocUnsafe(REREAD_BYTES)
      for (let at = 0; at < size; ) {
        const bytes = faults(path, () => readSync(file, buffer, 0, Math.min(buffer.length, size - at), at))
        if (bytes === 0) break
        hash.update(buffer.subarray(0, bytes))
        at += bytes
        await turn()
        progress.throwIfEnded()
      }
      return new BlobDraft(path, file, hash, size)
    } catch (error) {
      closeSync(file)
      throw error
    }
  }

  get size(): number {
    return this.#size
  }

  /** The digest of what was written so far. */
  get digest(): string {
    return `sha256:${this.#hash.copy().digest('hex')}`
  }

  write(chunk: Buffer): void {
    // Its number may be another file's by now.
    if (!this.#open) throw new Error(`${this.path} is closed`)
    this.#hash.update(chunk)
    faults(this.path, () => {
      for (let at = 0; at < chunk.length; ) at += writeSync(this.#file, chunk, at)
    })
    this.#size += chunk.length
    this.#unsynced += chunk.length
    if (this.#unsynced >= FLUSH_BYTES && this.#flush === undefined) this.#startFlush()
  }

  /** Forgets what was written. */
  restart(): void {
    faults(this.path, () => ftruncateSync(this.#file, 0))
    this.#hash = createHash('sha256')
    this.#size = 0
  }

  /** Checks, syncs and closes. Throws `invalid_argument/digest_mismatch`, `size_mismatch`. */
  async finish(expected: Partial<BlobId>): Promise<BlobId> {
    const id = { digest: this.digest, size: this.#size }
    checkBlob(id, expected)
    await this.#flush
    try {
      await sync(this.#file)
    } catch (error) {
      throw storeFault(error, this.path)
    }
    this.#close()
    return id
  }

  /** Closes; the file stays, for somebody who goes on with it or syncs it later. */
  async close(): Promise<void> {
    await this.#flush
    this.#close()
  }

  /** Closes and removes. */
  async remove(): Promise<void> {
    await this.close()
    rmSync(this.path, { force: true })
  }

  #close(): void {
    if (!this.#open) return
    this.#open = false
    closeSync(this.#file)
  }

  #startFlush(): void {
    this.#unsynced = 0
    // Its error comes again at the last sync, which is the one that counts.
    this.#flush = sync(this.#file)
      .catch(() => undefined)
      .finally(() => {
        this.#flush = undefined
      })
  }
}

function faults<R>(path: string, work: () => R): R {
  try {
    return work()
  } catch (error) {
    throw storeFault(error, path)
  }
}
