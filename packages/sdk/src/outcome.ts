import { CoppiceError, type ExecResult, type Gap } from '@coppice/protocol/wire'
import type { OutputSink } from './journal-cursor.ts'

/** Bytes of output that `exec` holds, both streams together. Default 64 MiB. */
export const DEFAULT_MAX_OUTPUT_BYTES = 64 * 1024 * 1024

/** What `sandbox.exec` resolves to: a real exit status, whatever it is, and the output. */
export interface ExecOutcome extends ExecResult {
  /** The exec's id; its output can still be read by `sandbox.attach(id)` for at least ten minutes. */
  id: string
  /** UTF-8; what is not is replaced by U+FFFD. Use `spawn` for bytes. */
  stdout: string
  stderr: string
  /** Output that was lost before it was read. Empty but for an exec that outran both its reader and its journal. */
  gaps: Gap[]
  /** True when `overflow: 'truncate'` let go of what came after `maxOutputBytes`. */
  truncated: boolean
}

/** Collects both streams up to a bound. */
export class OutputCollector implements OutputSink {
  readonly #maxBytes: number
  readonly #stdout: Buffer[] = []
  readonly #stderr: Buffer[] = []
  readonly #gaps: Gap[] = []
  #bytes = 0
  #dropped = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  data(stream: 'stdout' | 'stderr', bytes: Buffer): void {
    const room = this.#maxBytes - this.#bytes
    const kept = bytes.length <= room ? bytes : bytes.subarray(0, room)
    this.#dropped += bytes.length - kept.length
    this.#bytes += kept.length
    if (kept.length > 0) (stream === 'stdout' ? this.#stdout : this.#stderr).push(kept)
  }

  gap(gap: Gap): void {
    this.#gaps.push(gap)
  }

  /** @throws `resource_exhausted/output_too_large` with the result in its facts, unless truncating was asked for. */
  outcome(id: string, result: ExecResult, overflow: 'error' | 'truncate'): ExecOutcome {
    if (this.#dropped > 0 && overflow === 'error') {
      throw new CoppiceError(
        'resource_exhausted',
        'output_too_large',
        `The output is larger than ${this.#maxBytes} bytes.`,
        {
          facts: { execId: id, maxOutputBytes: this.#maxBytes, result },
          hint: `Read it with sandbox.attach('${id}'), stream it with spawn, raise maxOutputBytes, or say overflow: 'truncate'.`,
        },
      )
    }
    return {
      ...result,
      id,
      stdout: Buffer.concat(this.#stdout).toString('utf8'),
      stderr: Buffer.concat(this.#stderr).toString('utf8'),
      gaps: this.#gaps,
      truncated: this.#dropped > 0,
    }
  }
}
