import type { Journal } from '../journal/journal.ts'
import type { JournalReader } from '../journal/reader.ts'
import type { OutputSource } from '../launch/source.ts'

/** How far the program of a `block` journal may be ahead of the reader that it waits for: that much stays in memory. */
const BLOCK_AHEAD_BYTES = 512 * 1024

/**
 * Decides when a program's output is not read for a while: when the disk is far behind, or when a reader that the program has
 * to wait for is. A program that is not read fills its pipe and waits in `write`.
 */
export class Flow {
  readonly #journal: Journal
  readonly #sources: readonly OutputSource[]
  readonly #blocking = new Set<JournalReader>()
  #paused = false
  #open = false

  constructor(journal: Journal, sources: readonly OutputSource[]) {
    this.#journal = journal
    this.#sources = sources
    journal.onRelief = () => this.update()
  }

  /** The program waits for this reader from now on. Returns the function that ends that. */
  waitFor(reader: JournalReader): () => void {
    this.#blocking.add(reader)
    this.update()
    return () => {
      this.#blocking.delete(reader)
      this.update()
    }
  }

  /** Nothing pauses any more: the program has ended, and what it left is to be read. */
  open(): void {
    this.#open = true
    this.update()
  }

  /** Call it after output came and after a reader has moved. */
  update(): void {
    const pause = !this.#open && (this.#journal.congested || this.#readerBehind())
    if (pause === this.#paused) return
    this.#paused = pause
    for (const source of this.#sources) {
      if (pause) source.pause()
      else source.resume()
    }
  }

  #readerBehind(): boolean {
    for (const reader of this.#blocking) {
      if (this.#journal.end - reader.offset > BLOCK_AHEAD_BYTES) return true
    }
    return false
  }
}
