import { randomBytes } from 'node:crypto'
import { rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Room for one more copy of the list of images, bytes: it has some 400 for each image. */
const RESERVE_BYTES = 1024 * 1024

/** Room that is kept, as a file, for what makes room: on a disk that is full to the last byte no image could be removed. */
export class Reserve {
  readonly #path: string

  private constructor(path: string) {
    this.#path = path
  }

  static async open(dir: string): Promise<Reserve> {
    const reserve = new Reserve(join(dir, 'reserve'))
    await reserve.fill()
    return reserve
  }

  /** Takes the room again, where there is some. */
  async fill(): Promise<void> {
    const found = await stat(this.#path).catch(() => undefined)
    if (found?.size === RESERVE_BYTES) return
    // Nothing that a file system could keep in less room than it has bytes.
    await writeFile(this.#path, randomBytes(RESERVE_BYTES), { mode: 0o600 }).catch(() => this.spend())
  }

  /** Gives the room back. */
  async spend(): Promise<void> {
    await rm(this.#path, { force: true }).catch(() => undefined)
  }
}
