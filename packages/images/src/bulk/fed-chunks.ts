import type { CoppiceError } from '@coppice/protocol/wire'

/** Chunks that come by messages, as a stream that is read once. A chunk is good until the next one is asked for. */
export class FedChunks implements AsyncIterable<Buffer> {
  readonly #spent: (bytes: ArrayBuffer) => void
  readonly #queue: Buffer<ArrayBuffer>[] = []
  #ended = false
  #error: CoppiceError | undefined
  #wake: (() => void) | undefined

  /** @param spent gets the memory of a chunk that nobody reads any more */
  constructor(spent: (bytes: ArrayBuffer) => void) {
    this.#spent = spent
  }

  push(chunk: Buffer<ArrayBuffer>): void {
    this.#queue.push(chunk)
    this.#wake?.()
  }

  /** Nothing more comes; with an error the reader gets it after what came before. */
  end(error?: CoppiceError): void {
    this.#ended = true
    this.#error = error
    this.#wake?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    for (;;) {
      const chunk = this.#queue.shift()
      if (chunk) {
        yield chunk
        this.#spent(chunk.buffer)
      } else if (this.#ended) {
        if (this.#error) throw this.#error
        return
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    }
  }
}
