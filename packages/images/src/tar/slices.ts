/** Collects output: neighbouring ranges of one chunk become one view. */
export class Slices {
  readonly #chunk: Buffer
  readonly #out: Buffer[] = []
  #from = 0
  #to = 0

  constructor(chunk: Buffer) {
    this.#chunk = chunk
  }

  keep(from: number, to: number): void {
    if (from !== this.#to) {
      this.#flush()
      this.#from = from
    }
    this.#to = to
  }

  add(...buffers: Buffer[]): void {
    if (buffers.length === 0) return
    this.#flush()
    this.#out.push(...buffers)
  }

  done(): Buffer[] {
    this.#flush()
    return this.#out
  }

  #flush(): void {
    if (this.#to > this.#from) this.#out.push(this.#chunk.subarray(this.#from, this.#to))
    this.#from = this.#to
  }
}
