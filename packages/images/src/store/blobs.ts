import { createReadStream, renameSync } from 'node:fs'
import { link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { syncFolder } from '@coppice/limits'
import { CoppiceError } from '@coppice/protocol/wire'
import { errnoOf, withStoreFaults } from '../faults.ts'
import type { BlobId } from './blob-id.ts'
import { digestOf, hexOf } from './digest.ts'
import { reusedChunks } from './reused-chunks.ts'

/** The largest JSON blob (manifest, config, index) that is read into memory: 8 MiB. */
export const MAX_JSON_BYTES = 8 * 1024 * 1024

/** Bytes read at a time, and so in flight per stage of a pipeline. */
export const CHUNK_BYTES = 256 * 1024

/** Files named by the sha256 of their content. A file that is there is whole: it was checked, synced and renamed into place. */
export class BlobStore {
  readonly #dir: string

  /** @param layoutDir the folder that holds `blobs/`. */
  constructor(layoutDir: string) {
    this.#dir = join(layoutDir, 'blobs', 'sha256')
  }

  static async open(layoutDir: string): Promise<BlobStore> {
    const blobs = new BlobStore(layoutDir)
    await mkdir(blobs.#dir, { recursive: true, mode: 0o700 })
    return blobs
  }

  path(digest: string): string {
    return join(this.#dir, hexOf(digest))
  }

  /** Its size in bytes, or undefined when there is no such blob. */
  async size(digest: string): Promise<number | undefined> {
    const path = this.path(digest)
    try {
      return (await stat(path)).size
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      return withStoreFaults(path, () => Promise.reject(error))
    }
  }

  /** Throws `not_found/blob_not_found` and `internal/blob_corrupt` (another size than `size`) at once, not in the stream. */
  async read(digest: string, size: number): Promise<AsyncIterable<Buffer>> {
    if ((await this.#mustHave(digest)) !== size) throw corrupt(digest, this.path(digest))
    return createReadStream(this.path(digest), { highWaterMark: CHUNK_BYTES })
  }

  /** The same with chunks that are used again: see `reusedChunks`. */
  async readReusing(digest: string, size: number): Promise<AsyncIterable<Buffer>> {
    if ((await this.#mustHave(digest)) !== size) throw corrupt(digest, this.path(digest))
    return fileChunks(this.path(digest))
  }

  /** A small blob, checked against its digest. Throws `not_found/blob_not_found`, `internal/blob_corrupt`. */
  async readSmall(digest: string): Promise<Buffer> {
    const size = await this.#mustHave(digest)
    if (size > MAX_JSON_BYTES) throw tooLarge(size)
    const path = this.path(digest)
    const bytes = await withStoreFaults(path, () => readFile(path))
    if (digestOf(bytes) !== digest) throw corrupt(digest, path)
    return bytes
  }

  /** Moves a whole and synced file into its place. False: the blob was there, and the file is gone. */
  async place(from: string, id: BlobId): Promise<boolean> {
    const path = this.path(id.digest)
    return withStoreFaults(path, async () => {
      try {
        // Unlike a rename it tells who was first.
        await link(from, path)
        await rm(from)
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error
        if ((await this.size(id.digest)) === id.size) {
          await rm(from, { force: true })
          return false
        }
        await rename(from, path)
      }
      await syncFolder(this.#dir)
      return true
    })
  }

  /** Digests of all blobs. */
  async list(): Promise<string[]> {
    const names = await withStoreFaults(this.#dir, () => readdir(this.#dir))
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => `sha256:${name}`)
  }

  /** Takes a blob out of its place in this step of the event loop: it is at `to` then. */
  take(digest: string, to: string): void {
    renameSync(this.path(digest), to)
  }

  async #mustHave(digest: string): Promise<number> {
    const size = await this.size(digest)
    if (size === undefined) {
      throw new CoppiceError('not_found', 'blob_not_found', `The image store has no blob ${digest}.`, {
        facts: { digest },
      })
    }
    return size
  }
}

async function* fileChunks(path: string): AsyncGenerator<Buffer> {
  const file = await open(path)
  try {
    yield* reusedChunks(file)
  } finally {
    await file.close()
  }
}

function corrupt(digest: string, path: string): CoppiceError {
  return new CoppiceError('internal', 'blob_corrupt', `The blob ${digest} has changed on the disk.`, {
    facts: { path },
  })
}

function tooLarge(size: number): CoppiceError {
  return new CoppiceError('invalid_argument', 'blob_too_large', `A manifest or config of ${size} bytes is not read.`, {
    facts: { limit: MAX_JSON_BYTES },
  })
}
