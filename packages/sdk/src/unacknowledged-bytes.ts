import { CoppiceError } from '@coppice/protocol/wire'

interface Kept {
  /** Offset of its first byte in the whole. */
  at: number
  bytes: Buffer
}

/** The part of a stream of bytes that was taken from its source and has not been acknowledged: `start` to `end`. */
export class UnacknowledgedBytes {
  readonly #kept: Kept[] = []
  #start: number
  #end: number

  /** @param start offset of the first byte that will be appended */
  constructor(start: number) {
    this.#start = start
    this.#end = start
  }

  /** First offset that is not acknowledged. */
  get start(): number {
    return this.#start
  }

  /** Offset after the last byte. */
  get end(): number {
    return this.#end
  }

  /** Bytes not acknowledged. */
  get size(): number {
    return this.#end - this.#start
  }

  /** Pieces held. */
  get count(): number {
    return this.#kept.length
  }

  append(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#kept.push({ at: this.#end, bytes })
    this.#end += bytes.length
  }

  /** What is held from `offset` (start ≤ offset < end) to the end of its piece. A view, not a copy. */
  from(offset: number): Buffer {
    let low = 0
    let high = this.#kept.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if ((this.#kept[middle] as Kept).at <= offset) low = middle
      else high = middle - 1
    }
    const { at, bytes } = this.#kept[low] as Kept
    return bytes.subarray(offset - at)
  }

  /** Everything before `offset` has arrived. @throws `internal/acknowledged_too_much` for bytes that were never taken. */
  acknowledge(offset: number): void {
    this.expect(offset)
    this.#start = Math.max(this.#start, offset)
    for (let first = this.#kept[0]; first && first.at + first.bytes.length <= this.#start; first = this.#kept[0]) {
      this.#kept.shift()
    }
  }

  /** @throws `internal/acknowledged_too_much` when `offset` lies behind everything. */
  expect(offset: number): void {
    if (offset <= this.#end) return
    throw new CoppiceError('internal', 'acknowledged_too_much', 'More bytes were acknowledged than were sent.', {
      facts: { sent: this.#end, acknowledged: offset },
    })
  }

  /**
   * What the other side says to have after a break.
   *
   * @throws `unavailable/bytes_forgotten` when that is less than it acknowledged before: what is missing is not held here either.
   */
  resumeAt(offset: number): void {
    if (offset < this.#start) {
      throw new CoppiceError(
        'unavailable',
        'bytes_forgotten',
        'The sandbox has forgotten bytes that it had acknowledged.',
        {
          retryable: false,
          facts: { acknowledgedBefore: this.#start, has: offset },
        },
      )
    }
    this.acknowledge(offset)
  }
}
