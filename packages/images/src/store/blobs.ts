import { createReadStream, renameSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { errnoOf, withStoreFaults } from '../faults.ts'
import { type BlobId, BlobWriter } from './blob-writer.ts'
import { digestOf, hexOf } from './digest.ts'
import { syncFolder } from './durable.ts'
import type { Hold } from './holds.ts'
import type { Scratch } from './scratch.ts'

/** The largest JSON blob (manifest, config, index) that is read into memory: 8 MiB. */
export const MAX_JSON_BYTES = 8 * 1024 * 1024

/** Bytes read at a time, and so in flight per stage of a pipeline. */
export const CHUNK_BYTES = 256 * 1024

/** Files named by the sha256 of their content. A file that is there is whole: it was checked, synced and renamed into place. */
export class BlobStore {
  readonly #dir: string
  readonly #scratch: Scratch

  private constructor(dir: string, scratch: Scratch) {
    this.#dir = dir
    this.#scratch = scratch
  }

  /** @param layoutDir the folder that holds `blobs/`. */
  static async open(layoutDir: string, scratch: Scratch): Promise<BlobStore> {
    const dir = join(layoutDir, 'blobs', 'sha256')
    await mkdir(dir, { recursive: true, mode: 0o700 })
    return new BlobStore(dir, scratch)
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
    if ((await this.#mustHave(digest)) !== size) {
      const path = this.path(digest)
      throw new CoppiceError('internal', 'blob_corrupt', `The blob ${digest} has changed on the disk.`, {
        facts: { path },
      })
    }
    return createReadStream(this.path(digest), { highWaterMark: CHUNK_BYTES })
  }

  /** A small blob, checked against its digest. Throws `not_found/blob_not_found`, `internal/blob_corrupt`. */
  async readSmall(digest: string): Promise<Buffer> {
    const size = await this.#mustHave(digest)
    if (size > MAX_JSON_BYTES) throw tooLarge(size)
    const path = this.path(digest)
    const bytes = await withStoreFaults(path, () => readFile(path))
    if (digestOf(bytes) !== digest) {
      throw new CoppiceError('internal', 'blob_corrupt', `The blob ${digest} has changed on the disk.`, {
        facts: { path },
      })
    }
    return bytes
  }

  /** Starts a blob whose digest may not be known yet. `hold` holds it from before it is in its place. */
  async create(hold: Hold): Promise<BlobWriter> {
    const path = this.#scratch.newPath()
    const file = await withStoreFaults(path, () => open(path, 'wx', 0o600))
    return new BlobWriter(file, path, (digest) => {
      hold.add(digest)
      return this.#place(path, digest)
    })
  }

  /** Streams a blob in. With `expected` nothing else is accepted: `invalid_argument/digest_mismatch`, `size_mismatch`. */
  async write(
    source: AsyncIterable<Buffer>,
    expected: Partial<BlobId>,
    hold: Hold,
    progress: Progress,
  ): Promise<BlobId> {
    const writer = await this.create(hold)
    try {
      for await (const chunk of source) {
        progress.throwIfEnded()
        await writer.write(chunk)
      }
      return await writer.commit(expected)
    } finally {
      await writer.dispose()
    }
  }

  async writeSmall(bytes: Buffer | string, hold: Hold): Promise<BlobId> {
    const writer = await this.create(hold)
    try {
      await writer.write(Buffer.from(bytes))
      return await writer.commit({})
    } finally {
      await writer.dispose()
    }
  }

  /** Digests of all blobs. */
  async list(): Promise<string[]> {
    const names = await withStoreFaults(this.#dir, () => readdir(this.#dir))
    return names.filter((name) => /^[0-9a-f]{64}$/.test(name)).map((name) => `sha256:${name}`)
  }

  /** Takes a blob out of its place at once; its bytes are freed afterwards. */
  remove(digest: string): Promise<void> {
    const path = this.path(digest)
    return withStoreFaults(path, async () => {
      const doomed = this.#scratch.newPath()
      renameSync(path, doomed)
      await rm(doomed)
    })
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

  async #place(from: string, digest: string): Promise<void> {
    await rename(from, this.path(digest))
    await syncFolder(this.#dir)
  }
}

function tooLarge(size: number): CoppiceError {
  return new CoppiceError('invalid_argument', 'blob_too_large', `A manifest or config of ${size} bytes is not read.`, {
    facts: { limit: MAX_JSON_BYTES },
  })
}
