import { CoppiceError } from '@coppice/protocol/wire'
import type { InputSink } from '../launch/launched.ts'

/**
 * Standard input of one exec, in acknowledged bytes: what was acknowledged is the supervisor's and need not be sent again.
 * Several senders may come one after the other (or overlap, when a lost session is not yet known to be lost): each byte is
 * taken once, and one chunk at a time, so that senders that come and go cannot pile up memory.
 */
export class Stdin {
  readonly #sink: InputSink
  #acknowledged = 0
  #closed: boolean
  #turn: Promise<void> = Promise.resolve()

  /** `open` false: the program has `/dev/null`. */
  constructor(sink: InputSink, open: boolean) {
    this.#sink = sink
    this.#closed = !open
    if (!open) sink.end()
  }

  get acknowledged(): number {
    return this.#acknowledged
  }

  /**
   * Takes the bytes that stand at `offset`; those already acknowledged are skipped. `stillWanted` is asked when the turn has
   * come. Throws `conflict/offset_ahead` and `failed_precondition/stdin_closed`.
   */
  async take(offset: number, chunk: Buffer, stillWanted: () => boolean): Promise<void> {
    await this.#inTurn(async () => {
      if (!stillWanted()) return
      this.check(offset)
      const fresh = chunk.subarray(Math.min(chunk.length, this.#acknowledged - offset))
      if (fresh.length === 0) return
      this.#acknowledged += fresh.length
      if (!(await this.#sink.write(fresh))) this.close()
    })
    if (this.#closed) throw this.#closedError()
  }

  /** Throws when bytes at `offset` cannot be taken. */
  check(offset: number): void {
    if (this.#closed) throw this.#closedError()
    if (offset <= this.#acknowledged) return
    throw new CoppiceError('conflict', 'offset_ahead', `Only ${this.#acknowledged} bytes of stdin have arrived.`, {
      facts: { acknowledged: this.#acknowledged },
      hint: 'Send again from the acknowledged offset.',
    })
  }

  /** The program sees the end of its input after everything taken so far. A second end is nothing. */
  async end(): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#closed) return
      this.#closed = true
      this.#sink.end()
    })
  }

  /** Nothing is taken any more: the exec has ended, or the program does not read. */
  close(): void {
    this.#closed = true
    this.#sink.destroy()
  }

  async #inTurn(work: () => Promise<void>): Promise<void> {
    const before = this.#turn
    let done: () => void = () => {}
    this.#turn = new Promise((resolve) => {
      done = resolve
    })
    await before
    try {
      await work()
    } finally {
      done()
    }
  }

  #closedError(): CoppiceError {
    return new CoppiceError('failed_precondition', 'stdin_closed', 'The exec takes no more input.', {
      facts: { acknowledged: this.#acknowledged },
    })
  }
}
