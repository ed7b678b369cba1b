import { CoppiceError, type ExecResult, type Frame, type Gap, StreamId } from '@coppice/protocol/wire'

/** Takes what an exec writes, in the order of the journal, each byte once. */
export interface OutputSink {
  data(stream: 'stdout' | 'stderr', bytes: Buffer, offset: number): void
  /** Bytes that can no longer be read, and why. */
  gap(gap: Gap): void
}

/** Where a reader stands in an exec's journal. Whatever connections bring, the sink gets each byte once and is told of each gap. */
export class JournalCursor {
  readonly #sink: OutputSink
  #offset: number

  constructor(from: number, sink: OutputSink) {
    this.#offset = from
    this.#sink = sink
  }

  /** Journal offset after everything that the sink was given. */
  get offset(): number {
    return this.#offset
  }

  /** Passes on what is new in a data frame. @throws `internal/offset_hole` when bytes are missing and no gap said so. */
  data(frame: Frame): void {
    const end = frame.offset + frame.payload.length
    if (end <= this.#offset) return
    if (frame.offset > this.#offset) {
      throw new CoppiceError('internal', 'offset_hole', 'Output is missing and nobody said why.', {
        facts: { expected: this.#offset, got: frame.offset },
      })
    }
    const bytes = frame.payload.subarray(this.#offset - frame.offset)
    const offset = this.#offset
    this.#offset = end
    this.#sink.data(frame.stream === StreamId.stderr ? 'stderr' : 'stdout', bytes, offset)
  }

  /** Passes on what is new in a gap. */
  gap(gap: Gap): void {
    if (!(gap.to > this.#offset)) return
    const from = Math.max(gap.from, this.#offset)
    this.#offset = gap.to
    this.#sink.gap({ from, to: gap.to, reason: gap.reason })
  }

  /** A result counts only behind all of the output. */
  end(result: ExecResult): { result: ExecResult } | { error: CoppiceError } {
    const written = result.stdoutBytes + result.stderrBytes
    if (this.#offset >= written) return { result }
    return {
      error: new CoppiceError('internal', 'output_incomplete', 'The result came before all of the output.', {
        facts: { written, result },
      }),
    }
  }
}
