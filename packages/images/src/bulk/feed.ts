import type { MessagePort } from 'node:worker_threads'
import { CoppiceError } from '@coppice/protocol/wire'
import { FEED_BYTES, FEED_WINDOW, type ToJob } from './messages.ts'

/**
 * Milliseconds after which what has been gathered is sent though it is less than a chunk: a source that falls silent has perhaps
 * said enough to be refused.
 */
const PAUSE_MS = 50

/** Sends a source's bytes to a job, at most `FEED_WINDOW` chunks ahead of it. */
export class Feed {
  readonly #port: MessagePort
  #unmade = FEED_WINDOW - 1
  readonly #free: ArrayBuffer[] = []
  #wake: (() => void) | undefined
  #closed = false
  #buffer = new ArrayBuffer(FEED_BYTES)
  #filled = 0

  constructor(port: MessagePort) {
    this.#port = port
  }

  /** The job has done with a chunk. */
  spent(bytes: ArrayBuffer): void {
    this.#free.push(bytes)
    this.#wake?.()
  }

  /** The job has ended: nobody reads any more. */
  close(): void {
    this.#closed = true
    this.#wake?.()
  }

  /**
   * Reads the source to its end, or until `close`. Its error goes to the job. A source that is not read to its end is not
   * closed: it may be a request whose sender still has to be told why.
   */
  async run(source: AsyncIterable<Uint8Array>): Promise<void> {
    const chunks = source[Symbol.asyncIterator]()
    try {
      for (let next = await this.#next(chunks); !next.done; next = await this.#next(chunks)) {
        const chunk = next.value
        for (let at = 0; at < chunk.length; ) {
          const part = chunk.subarray(at, at + FEED_BYTES - this.#filled)
          new Uint8Array(this.#buffer).set(part, this.#filled)
          this.#filled += part.length
          at += part.length
          if (this.#filled === FEED_BYTES) await this.#flush()
        }
        if (this.#closed) return
      }
      if (this.#filled > 0) await this.#flush()
      this.#send({ type: 'end' })
    } catch (error) {
      this.#send({ type: 'broken', error: sourceFault(error).toBody() })
    }
  }

  async #next(chunks: AsyncIterator<Uint8Array>): Promise<IteratorResult<Uint8Array>> {
    if (this.#filled === 0) return chunks.next()
    const pauses = setInterval(() => this.#flushEarly(), PAUSE_MS)
    try {
      return await chunks.next()
    } finally {
      clearInterval(pauses)
    }
  }

  /** Nothing happens as long as the job has all buffers: then it has enough to do. */
  #flushEarly(): void {
    const next = this.#filled > 0 && this.#freeBuffer()
    if (!next) return
    this.#sendFilled()
    this.#buffer = next
  }

  async #flush(): Promise<void> {
    this.#sendFilled()
    this.#buffer = await this.#nextBuffer()
  }

  #sendFilled(): void {
    this.#send({ type: 'chunk', bytes: this.#buffer, length: this.#filled }, [this.#buffer])
    this.#filled = 0
  }

  #freeBuffer(): ArrayBuffer | undefined {
    const free = this.#free.pop()
    if (free || this.#unmade <= 0) return free
    this.#unmade--
    return new ArrayBuffer(FEED_BYTES)
  }

  async #nextBuffer(): Promise<ArrayBuffer> {
    while (!this.#closed) {
      const free = this.#freeBuffer()
      if (free) return free
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    return new ArrayBuffer(FEED_BYTES)
  }

  #send(message: ToJob, transfer: ArrayBuffer[] = []): void {
    if (!this.#closed) this.#port.postMessage(message, transfer)
  }
}

function sourceFault(error: unknown): CoppiceError {
  if (error instanceof CoppiceError) return error
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return new CoppiceError('cancelled', 'upload_cut', 'The archive did not arrive whole.', {
    cause: error,
    facts: code === undefined ? {} : { cause: code },
  })
}
