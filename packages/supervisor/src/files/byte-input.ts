import { CoppiceError } from '@coppice/protocol/wire'

/** Takes exact numbers of bytes from a stream of chunks. Throws `invalid_argument/truncated_archive` when there are too few. */
export class ByteInput {
  readonly #source: AsyncIterator<Buffer>
  #chunk: Buffer = Buffer.alloc(0)

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  async take(bytes: number): Promise<Buffer> {
    const parts: Buffer[] = []
    for (let left = bytes; left > 0; ) {
      const part = await this.some(left)
      parts.push(part)
      left -= part.length
    }
    const [only] = parts
    return parts.length === 1 && only ? only : Buffer.concat(parts)
  }

  /** At least one byte, at most `limit`. */
  async some(limit: number): Promise<Buffer> {
    while (this.#chunk.length === 0) {
      const { value, done } = await this.#source.next()
      if (done) throw new CoppiceError('invalid_argument', 'truncated_archive', 'The archive ends in the middle.')
      this.#chunk = value
    }
    const part = this.#chunk.subarray(0, limit)
    this.#chunk = this.#chunk.subarray(part.length)
    return part
  }

  async skip(bytes: number): Promise<void> {
    for (let left = bytes; left > 0; ) left -= (await this.some(left)).length
  }

  /** Reads the rest away: archives are padded after their end. */
  async drain(): Promise<void> {
    while (!(await this.#source.next()).done);
  }
}
