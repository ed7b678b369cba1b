import { randomBytes } from 'node:crypto'
import { lstat, open, rm, statfs } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { freeRoom } from './free-room.ts'
import { syncFolder } from './sync-folder.ts'

/** Room that is kept, bytes: 1 MiB. A list of images has some 400 for each, a sandbox's record 1 to 100 thousand. */
export const RESERVE_BYTES = 1024 * 1024

/** Room that is left beside it when it is taken, bytes: for the records that are written meanwhile. */
const MARGIN_BYTES = 64 * 1024

/** Milliseconds between two looks whether there is room for it again. */
const RETRY_MS = 1000

/**
 * Room that is kept, as a file, for what makes room: on a disk that is full to the last byte nothing could be removed of which a
 * record has to be written. It is taken again as soon as there is room for it.
 */
export class Reserve {
  readonly #path: string
  #missing = false
  #retry: NodeJS.Timeout | undefined
  #last: Promise<unknown> = Promise.resolve()

  /** The file `reserve` in a folder. Nothing is made before `fill`. */
  constructor(dir: string) {
    this.#path = join(dir, 'reserve')
  }

  /** Takes the room, unless it has it: later where there is none now. Never throws. */
  fill(): Promise<void> {
    return this.#inTurn(() => this.#fill())
  }

  /** The same where this process knows that it is missing; costs nothing where it is not. */
  async refill(): Promise<void> {
    if (this.#missing) await this.fill()
  }

  /**
   * Runs `work`, and where there is no room for it once more with this room, beside nobody else's. What it throws then is thrown.
   * @param work is whole or has left nothing, and says that there is no room by a file system's error
   */
  async lend<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (!isNoRoom(error)) throw error
    }
    return this.#inTurn(async () => {
      await this.#spend()
      return work()
    })
  }

  async #spend(): Promise<void> {
    this.#isMissing()
    await rm(this.#path, { force: true }).catch(() => undefined)
    // Some file systems give room back with their next commit.
    await syncFolder(dirname(this.#path)).catch(() => undefined)
  }

  async #fill(): Promise<void> {
    try {
      if (!(await this.#isThere())) await this.#write()
      this.#missing = false
    } catch {
      this.#isMissing()
    }
  }

  async #isThere(): Promise<boolean> {
    const found = await lstat(this.#path).catch(() => undefined)
    return found?.isFile() === true && found.size === RESERVE_BYTES
  }

  #isMissing(): void {
    this.#missing = true
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined
      void this.refill()
    }, RETRY_MS).unref()
  }

  async #write(): Promise<void> {
    const { bytes } = freeRoom(await statfs(dirname(this.#path)))
    if (bytes !== undefined && bytes < RESERVE_BYTES + MARGIN_BYTES) throw new Error('there is no room')
    // Half of one, or something that is no file: writing into a pipe would wait for ever.
    await rm(this.#path, { force: true })
    const file = await open(this.#path, 'wx', 0o600)
    try {
      // Nothing that a file system could keep in less room than it has bytes.
      await file.writeFile(randomBytes(RESERVE_BYTES))
      await file.sync()
    } catch (error) {
      await rm(this.#path, { force: true }).catch(() => undefined)
      throw error
    } finally {
      await file.close()
    }
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work)
    this.#last = turn.catch(() => undefined)
    return turn
  }
}

/** True for a file system's error that says that a disk, or somebody's part of it, is full. */
export function isNoRoom(error: unknown): boolean {
  return error instanceof Error && ['ENOSPC', 'EDQUOT'].includes((error as NodeJS.ErrnoException).code ?? '')
}
