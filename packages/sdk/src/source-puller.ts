import type { CoppiceError } from '@coppice/protocol/wire'
import { sourceFailed } from './byte-source.ts'

/** Pulls pieces out of a source, one at a time, when it is told to. */
export class SourcePuller {
  readonly #source: AsyncIterator<Buffer>
  readonly #onPiece: (piece: Buffer) => void
  readonly #onChange: () => void
  #pulling = false
  #ended = false
  #error: CoppiceError | undefined

  /** @param onChange is called after each piece, at the end, and at a failure. */
  constructor(source: AsyncIterable<Buffer>, onPiece: (piece: Buffer) => void, onChange: () => void) {
    this.#source = source[Symbol.asyncIterator]()
    this.#onPiece = onPiece
    this.#onChange = onChange
  }

  /** No piece follows. */
  get ended(): boolean {
    return this.#ended
  }

  /** Why there are no more pieces, when that is a failure: `cancelled/source_failed`, or what the source threw if typed. */
  get error(): CoppiceError | undefined {
    return this.#error
  }

  /** Asks for the next piece. Does nothing while one is under way, and at the end. */
  pull(): void {
    if (this.#pulling || this.#ended) return
    this.#pulling = true
    this.#source.next().then(
      (next) => {
        this.#pulling = false
        if (next.done) this.#ended = true
        else this.#onPiece(next.value)
        this.#onChange()
      },
      (cause) => {
        this.#pulling = false
        this.#ended = true
        this.#error = sourceFailed(cause)
        this.#onChange()
      },
    )
  }

  /** Lets go of the source. */
  close(): void {
    // A source that is waiting for its own input answers only when that comes: nobody waits for that.
    void this.#source.return?.(undefined)?.then(
      () => {},
      () => {},
    )
  }
}
