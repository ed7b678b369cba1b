import { type FileHandle, open } from 'node:fs/promises'

/** Files that a pool has open at a time unless told otherwise: a quarter of the lowest soft limit of the field, macOS' 256. */
const DEFAULT_SIZE = 64

/**
 * Opens many files, few at a time. Whatever has more files to open than it can count goes through one: a soft limit of 256
 * is then enough for a folder of any size.
 */
export class FilePool {
  readonly #size: number
  #open = 0
  /** In the order of their keys. A map, because taking the first of a long array moves all others. */
  readonly #waiting = new Map<number, () => void>()
  #tickets = 0

  /** @param size files that are open at a time, 1 or more. Default 64. */
  constructor(size = DEFAULT_SIZE) {
    if (!Number.isInteger(size) || size < 1) throw new RangeError(`${size} files cannot be open at a time.`)
    this.#size = size
  }

  /**
   * Opens a file when it is its turn, runs `work` on it, and closes it. When the process as a whole may open no more it waits
   * for another file of this pool to be closed; when there is none, EMFILE is thrown like every other error of `open`.
   */
  async use<R>(path: string | Buffer, flags: string | number, work: (file: FileHandle) => Promise<R>, mode?: number) {
    await this.#enter()
    try {
      const file = await this.#openOne(path, flags, mode)
      try {
        return await work(file)
      } finally {
        await file.close()
      }
    } finally {
      this.#leave()
    }
  }

  /**
   * The results of `work` for all items, in their order. No more items are begun ahead of the reader than files may be open,
   * so neither memory nor descriptors grow with their number. The first failure ends it.
   */
  async *map<T, R>(items: Iterable<T> | AsyncIterable<T>, work: (item: T) => Promise<R>): AsyncGenerator<R> {
    const begun: Promise<R>[] = []
    try {
      for await (const item of items) {
        const result = work(item)
        // Looked at when its turn comes; a failure before that is not an unhandled one.
        result.catch(() => undefined)
        begun.push(result)
        if (begun.length >= this.#size) yield await (begun.shift() as Promise<R>)
      }
      while (begun.length > 0) yield await (begun.shift() as Promise<R>)
    } finally {
      await Promise.allSettled(begun)
    }
  }

  async #openOne(path: string | Buffer, flags: string | number, mode?: number): Promise<FileHandle> {
    for (;;) {
      try {
        return await open(path, flags, mode)
      } catch (error) {
        const errno = (error as NodeJS.ErrnoException).code
        if ((errno !== 'EMFILE' && errno !== 'ENFILE') || this.#open <= 1) throw error
        // This one stands back: the next that closes a file lets it in again.
        this.#leaveQuietly()
        await this.#enterAfterAnother()
      }
    }
  }

  async #enter(): Promise<void> {
    if (this.#open < this.#size) {
      this.#open++
      return
    }
    await this.#enterAfterAnother()
  }

  /** A place is handed over by who leaves. */
  #enterAfterAnother(): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(this.#tickets++, resolve))
  }

  #leave(): void {
    const [first] = this.#waiting
    if (!first) {
      this.#open--
      return
    }
    const [ticket, enter] = first
    this.#waiting.delete(ticket)
    enter()
  }

  #leaveQuietly(): void {
    this.#open--
  }
}
