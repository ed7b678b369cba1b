import { createHash } from 'node:crypto'
import { type FileHandle, rm } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { withStoreFaults } from '../faults.ts'

/** What a blob is known by. */
export interface BlobId {
  digest: string
  size: number
}

/** A blob that is being written. It exists for others only after `commit`. */
export class BlobWriter {
  readonly #file: FileHandle
  readonly #path: string
  readonly #place: (digest: string) => Promise<void>
  readonly #hash = createHash('sha256')
  #size = 0
  #state: 'open' | 'placed' | 'disposed' = 'open'

  constructor(file: FileHandle, path: string, place: (digest: string) => Promise<void>) {
    this.#file = file
    this.#path = path
    this.#place = place
  }

  get size(): number {
    return this.#size
  }

  async write(chunk: Buffer): Promise<void> {
    this.#hash.update(chunk)
    this.#size += chunk.length
    await withStoreFaults(this.#path, async () => {
      for (let at = 0; at < chunk.length; ) at += (await this.#file.write(chunk, at)).bytesWritten
    })
  }

  async commit(expected: Partial<BlobId>): Promise<BlobId> {
    const digest = `sha256:${this.#hash.digest('hex')}`
    if (expected.size !== undefined && expected.size !== this.#size) {
      throw new CoppiceError(
        'invalid_argument',
        'size_mismatch',
        `A blob has ${this.#size} bytes instead of ${expected.size}.`,
        {
          facts: { digest, expected: expected.size, actual: this.#size },
        },
      )
    }
    if (expected.digest !== undefined && expected.digest !== digest) {
      throw new CoppiceError(
        'invalid_argument',
        'digest_mismatch',
        `A blob is not what its digest says: it is ${digest}.`,
        {
          facts: { expected: expected.digest, actual: digest },
        },
      )
    }
    await withStoreFaults(this.#path, async () => {
      await this.#file.sync()
      await this.#place(digest)
    })
    this.#state = 'placed'
    return { digest, size: this.#size }
  }

  /** Call it always: closes the file, and removes it when it was not committed. */
  async dispose(): Promise<void> {
    if (this.#state === 'disposed') return
    if (this.#state === 'open') await rm(this.#path, { force: true })
    this.#state = 'disposed'
    await this.#file.close()
  }
}
