import { randomBytes } from 'node:crypto'
import { type FileHandle, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { packOverlay } from '@coppice/images'
import type { Progress } from '@coppice/protocol/wire'

/** Bytes that are read at once. */
const READ_BYTES = 256 * 1024

/** What an overlay's upper folder holds, as a layer in a file without a name: a crash leaves nothing. */
export class PackedLayer {
  readonly #file: FileHandle
  readonly #scratch: string
  #sizeBytes = 0

  private constructor(file: FileHandle, scratch: string) {
    this.#file = file
    this.#scratch = scratch
  }

  /** `folder`: where there is room for it. */
  static async open(folder: string): Promise<PackedLayer> {
    const path = join(folder, `.saving-${randomBytes(4).toString('hex')}`)
    const file = await open(path, 'wx+', 0o600)
    await rm(path)
    return new PackedLayer(file, folder)
  }

  /** Of the layer, once it is packed. */
  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** See `packOverlay`. Called once; nothing may change the folder meanwhile. */
  async pack(
    upper: string,
    options: { uidBase: number; leaveOut: readonly string[] },
    progress: Progress,
  ): Promise<void> {
    this.#sizeBytes = await packOverlay(upper, this.#file.fd, { ...options, scratch: this.#scratch }, progress)
  }

  /** The layer's bytes. A chunk is good until the next one is asked for. */
  async *chunks(progress: Progress): AsyncGenerator<Buffer> {
    const buffer = Buffer.allocUnsafe(READ_BYTES)
    for (let at = 0; at < this.#sizeBytes; ) {
      progress.throwIfEnded()
      const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, at)
      if (bytesRead === 0) return
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  /** Gives its room back. Whoever reads it gets an error. */
  async close(): Promise<void> {
    await this.#file.close().catch(() => {})
  }
}
