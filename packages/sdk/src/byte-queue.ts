import { CoppiceError } from '@coppice/protocol/wire'

/** Pieces up to this size together become one, bytes. */
const JOIN_BYTES = 64 * 1024

/**
 * Bytes pushed at one end and pulled at the other, in order. `push` resolves when there is room for more, so that a writer
 * who awaits it never holds more than about `highWaterBytes` here.
 */
export class ByteQueue implements AsyncIterable<Buffer> {
  readonly #highWaterBytes: number
  readonly #chunks: Buffer[] = []
  readonly #waitingForRoom: { resolve(): void; reject(error: unknown): void }[] = []
  #bytes = 0
  #ended = false
  #failure: unknown
  #wake: (() => void) | undefined

  constructor(highWaterBytes: number) {
    this.#highWaterBytes = highWaterBytes
  }

  /** @throws `failed_precondition/stdin_ended` after `end`, or what `fail` was given. */
  push(bytes: Buffer): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    if (this.#ended) {
      return Promise.reject(new CoppiceError('failed_precondition', 'stdin_ended', 'Standard input was ended before.'))
    }
    this.#chunks.push(bytes)
    this.#bytes += bytes.length
    this.#wake?.()
    if (this.#bytes < this.#highWaterBytes) return Promise.resolve()
    return new Promise((resolve, reject) => this.#waitingForRoom.push({ resolve, reject }))
  }

  end(): void {
    this.#ended = true
    this.#wake?.()
  }

  /** Nobody takes bytes any more: writers get `error`. */
  fail(error: unknown): void {
    this.#failure = error
    this.#chunks.length = 0
    for (const waiting of this.#waitingForRoom.splice(0)) waiting.reject(error)
    this.end()
  }

  /** Small pieces are joined, so that many tiny writes do not become many tiny packets. */
  #take(): Buffer | undefined {
    const first = this.#chunks[0]
    if (!first) return undefined
    let count = 1
    let bytes = first.length
    for (let next = this.#chunks[count]; next && bytes + next.length <= JOIN_BYTES; next = this.#chunks[count]) {
      bytes += next.length
      count += 1
    }
    const taken = this.#chunks.splice(0, count)
    this.#bytes -= bytes
    if (this.#bytes < this.#highWaterBytes) for (const waiting of this.#waitingForRoom.splice(0)) waiting.resolve()
    return count === 1 ? first : Buffer.concat(taken, bytes)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      const bytes = this.#take()
      if (bytes) {
        yield bytes
      } else if (this.#ended) {
        return
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        this.#wake = undefined
      }
    }
  }
}
