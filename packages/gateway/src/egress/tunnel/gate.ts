import type { GateVerdict } from '../sniff/gate.ts'

/** Pieces that first bytes may come in. Each new one is looked at together with all before: honest ones come in a few. */
const MAX_PIECES = 128

/** Bytes of empty lines that are passed over. They go out unseen and uncounted: more would be a way to fill memory. */
const MAX_BLANK_BYTES = 64

/** Holds what a program sends first until it was looked at. */
export class Gate {
  readonly #inspect: (bytes: Buffer, ended: boolean) => GateVerdict
  #pieces = 0
  #blanks = 0
  bytes: Buffer = Buffer.alloc(0)
  /** When the first byte came, as `performance.now()`. */
  since: number | undefined

  constructor(look: (bytes: Buffer, ended: boolean) => GateVerdict) {
    this.#inspect = look
  }

  /**
   * @param blank is given the empty lines that come before everything else: servers pass over them, so that they must not hide
   *   what follows, and a program may send nothing but them.
   */
  push(chunk: Buffer, blank: (bytes: Buffer) => void): GateVerdict {
    let rest = chunk
    if (this.bytes.length === 0) {
      const start = chunk.findIndex((byte) => byte !== 0x0d && byte !== 0x0a)
      this.#blanks += start < 0 ? chunk.length : start
      if (this.#blanks > MAX_BLANK_BYTES) return refused('The first bytes are nothing but empty lines.')
      if (start !== 0) blank(start < 0 ? chunk : chunk.subarray(0, start))
      if (start < 0) return { is: 'more' }
      rest = chunk.subarray(start)
    }
    this.since ??= performance.now()
    this.#pieces += 1
    this.bytes = this.bytes.length === 0 ? rest : Buffer.concat([this.bytes, rest])
    const verdict = this.#inspect(this.bytes, false)
    if (verdict.is !== 'more' || this.#pieces < MAX_PIECES) return verdict
    return refused('The first bytes came in too many pieces.')
  }

  /** No more will come. */
  end(): GateVerdict {
    return this.bytes.length === 0 ? { is: 'pass' } : this.#inspect(this.bytes, true)
  }
}

function refused(message: string): GateVerdict {
  return { is: 'refuse', rule: 'first_bytes', message, answer: 'http' }
}
