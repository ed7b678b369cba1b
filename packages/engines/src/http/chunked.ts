/** Characters of a chunk's first line, and of a trailer's line. Engines write eight at most. */
const MAX_LINE = 4096

type State = 'size' | 'data' | 'after' | 'trailer' | 'done'

/** Takes HTTP's chunked transfer coding off a body, in pieces of any size. What it gives is part of what it got: nothing is copied. */
export class ChunkedDecoder {
  readonly #give: (bytes: Buffer) => void
  #state: State = 'size'
  #line = ''
  #left = 0

  /** @param give called with what is content */
  constructor(give: (bytes: Buffer) => void) {
    this.#give = give
  }

  /** True once the end has come, and not only the end of the connection. */
  get done(): boolean {
    return this.#state === 'done'
  }

  /** Throws for what is not this coding. */
  take(piece: Buffer): void {
    for (let at = 0; at < piece.length && this.#state !== 'done'; ) {
      at = this.#state === 'data' ? this.#content(piece, at) : this.#text(piece, at)
    }
  }

  #content(piece: Buffer, at: number): number {
    const end = Math.min(piece.length, at + this.#left)
    this.#left -= end - at
    this.#give(piece.subarray(at, end))
    if (this.#left === 0) this.#state = 'after'
    return end
  }

  #text(piece: Buffer, at: number): number {
    const feed = piece.indexOf(10, at)
    const end = feed < 0 ? piece.length : feed
    this.#line += piece.toString('latin1', at, end)
    if (this.#line.length > MAX_LINE) throw notChunked('a line without an end')
    if (feed < 0) return end
    if (!this.#line.endsWith('\r')) throw notChunked('a line that ends otherwise')
    this.#next(this.#line.slice(0, -1))
    this.#line = ''
    return end + 1
  }

  #next(line: string): void {
    if (this.#state === 'after') {
      if (line !== '') throw notChunked('a chunk longer than it said')
      this.#state = 'size'
    } else if (this.#state === 'trailer') {
      if (line === '') this.#state = 'done'
    } else {
      const size = /^([0-9a-f]{1,12})(?:[ \t]*;.*)?$/i.exec(line)?.[1]
      if (size === undefined) throw notChunked('no size')
      this.#left = Number.parseInt(size, 16)
      this.#state = this.#left === 0 ? 'trailer' : 'data'
    }
  }
}

function notChunked(what: string): Error {
  return new Error(`its answer cannot be read: ${what}`)
}
