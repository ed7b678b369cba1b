import { CoppiceError, type Gap } from '@coppice/protocol/wire'
import type { OutputSink } from './journal-cursor.ts'

/** Bytes that are held for a reader that has not come for them yet; more are not taken from the connection. */
const HIGH_WATER_BYTES = 1024 * 1024

/** One piece of output, in the order in which the exec wrote it. */
export type OutputChunk =
  | { stream: 'stdout' | 'stderr'; bytes: Buffer /** Journal offset of the first byte. */; offset: number }
  /** Output between two journal offsets that can no longer be read, and why. Nothing is ever missing without one of these. */
  | { stream: 'gap'; gap: Gap; offset: number }

export interface QueueControl {
  pause(): void
  resume(): void
}

/**
 * Output that its reader pulls: what is not read stays in the sandbox's journal. One reader only. When the result is wanted and
 * nobody reads, output is let go instead (`discard`), because the result comes behind it.
 */
export class OutputQueue implements OutputSink, AsyncIterable<OutputChunk> {
  readonly #control: QueueControl
  readonly #chunks: OutputChunk[] = []
  #bytes = 0
  #full = false
  #state: 'waiting' | 'read' | 'discarded' = 'waiting'
  #ended = false
  #error: unknown
  #wake: (() => void) | undefined

  constructor(control: QueueControl) {
    this.#control = control
  }

  data(stream: 'stdout' | 'stderr', bytes: Buffer, offset: number): void {
    this.#bytes += bytes.length
    this.#push({ stream, bytes, offset })
    if (this.#bytes >= HIGH_WATER_BYTES && !this.#full && this.#state !== 'discarded') {
      this.#full = true
      this.#control.pause()
    }
  }

  gap(gap: Gap): void {
    this.#push({ stream: 'gap', gap, offset: gap.from })
  }

  /** Nothing more comes. With an error, the reader gets it after what was queued before it. */
  end(error?: unknown): void {
    this.#ended = true
    this.#error = error
    this.#wake?.()
  }

  /** Lets output go from now on, unless somebody reads it. */
  discard(): void {
    if (this.#state !== 'waiting') return
    this.#state = 'discarded'
    this.#chunks.length = 0
    this.#release()
  }

  [Symbol.asyncIterator](): AsyncIterator<OutputChunk> {
    if (this.#state !== 'waiting') {
      const why = this.#state === 'read' ? 'has a reader already' : 'was let go when the result was asked for'
      throw new CoppiceError('failed_precondition', 'output_taken', `The output of this exec ${why}.`, {
        hint: 'Iterate output before awaiting result, or use sandbox.attach(exec.id, { from: 0 }).',
      })
    }
    this.#state = 'read'
    return { next: () => this.#next(), return: () => this.#return() }
  }

  async #next(): Promise<IteratorResult<OutputChunk>> {
    while (this.#chunks.length === 0) {
      if (this.#ended) {
        if (this.#error !== undefined) throw this.#error
        return { done: true, value: undefined }
      }
      this.#release()
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = undefined
    }
    const chunk = this.#chunks.shift() as OutputChunk
    if (chunk.stream !== 'gap') this.#bytes -= chunk.bytes.length
    if (this.#bytes < HIGH_WATER_BYTES / 2) this.#release()
    return { done: false, value: chunk }
  }

  async #return(): Promise<IteratorResult<OutputChunk>> {
    this.#state = 'discarded'
    this.#chunks.length = 0
    this.#release()
    return { done: true, value: undefined }
  }

  #push(chunk: OutputChunk): void {
    if (this.#state === 'discarded') return
    this.#chunks.push(chunk)
    this.#wake?.()
  }

  #release(): void {
    if (!this.#full) return
    this.#full = false
    this.#control.resume()
  }
}
