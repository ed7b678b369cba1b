const NEWLINE = 0x0a

/** Cuts bytes into lines. Holds no more than one line that is not whole yet. */
export class Lines {
  readonly #limit: number
  #held: Buffer = Buffer.alloc(0)

  constructor(limitBytes: number) {
    this.#limit = limitBytes
  }

  /** The lines that are whole now, without their ends. Throws when one is longer than the limit. */
  push(chunk: Buffer): string[] {
    let rest = this.#held.length > 0 ? Buffer.concat([this.#held, chunk]) : chunk
    const lines: string[] = []
    for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE)) {
      if (end > this.#limit) throw new RangeError(`a line has more than ${this.#limit} bytes`)
      lines.push(rest.toString('utf8', 0, end))
      rest = rest.subarray(end + 1)
    }
    if (rest.length > this.#limit) throw new RangeError(`a line has more than ${this.#limit} bytes`)
    this.#held = rest
    return lines
  }
}
