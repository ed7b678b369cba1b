import { MAX_EGRESS_LINE_BYTES } from '@coppice/protocol'

/** Cuts a stream into lines. Holds at most one line, however its bytes come. */
export class Lines {
  #held: Buffer[] = []
  #heldBytes = 0;

  /** @throws RangeError when a line is longer than 16 KiB. */
  *push(chunk: Buffer): Generator<string, void, void> {
    let from = 0
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      this.#hold(chunk.subarray(from, end))
      from = end + 1
      const line = this.#held.length === 1 ? (this.#held[0] as Buffer) : Buffer.concat(this.#held)
      this.#held = []
      this.#heldBytes = 0
      yield line.toString('utf8')
    }
    // Copied: a view would keep the whole chunk, and a line may come in one byte at a time.
    if (from < chunk.length) this.#hold(Buffer.from(chunk.subarray(from)))
    if (this.#held.length > 64) this.#held = [Buffer.concat(this.#held)]
  }

  #hold(piece: Buffer): void {
    this.#heldBytes += piece.length
    if (this.#heldBytes > MAX_EGRESS_LINE_BYTES) throw new RangeError('a line is too long')
    this.#held.push(piece)
  }
}
