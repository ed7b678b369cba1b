import { createHash } from 'node:crypto'
import { ARCHIVE_TAIL_BYTES, type ArchivePrint } from '@coppice/protocol/wire'

/** What an archive will be known by, computed from its bytes while they come. */
export class ArchiveHash {
  readonly #size: number
  readonly #all = createHash('sha256')
  readonly #tail = createHash('sha256')
  #come = 0

  /** @param size bytes that will come */
  constructor(size: number) {
    this.#size = size
  }

  add(chunk: Buffer): void {
    this.#all.update(chunk)
    const before = Math.max(0, this.#size - ARCHIVE_TAIL_BYTES - this.#come)
    if (before < chunk.length) this.#tail.update(chunk.subarray(before))
    this.#come += chunk.length
  }

  /** Undefined when not all bytes have come, or more: an import may be done before the end of what it was given. */
  finish(): ArchivePrint | undefined {
    if (this.#come !== this.#size) return undefined
    return { digest: `sha256:${this.#all.digest('hex')}`, size: this.#size, tail: this.#tail.digest('hex') }
  }
}
