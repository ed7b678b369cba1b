import { CoppiceError, type ExecInfo } from '@coppice/protocol/wire'
import { ByteQueue } from './byte-queue.ts'
import { type ByteSource, pieces, split } from './byte-source.ts'
import type { GatewayConnection } from './connection.ts'
import { ResumableSender } from './resumable-sender.ts'

/** Bytes that wait here before `write` makes its caller wait. The sender's window comes on top. */
const QUEUE_BYTES = 256 * 1024

/**
 * The writing end of an exec's standard input. Every byte arrives once, also over broken connections, or writing fails with a
 * typed error; `failed_precondition/stdin_closed` when the program closed its input or ended.
 */
export class StdinWriter {
  readonly #queue = new ByteQueue(QUEUE_BYTES)
  readonly #abort = new AbortController()
  readonly #sender: ResumableSender<true>
  readonly #done: Promise<true>
  /** Offset after everything written. */
  #written: number

  /**
   * @param execPath the exec's path in the API
   * @param startAt bytes that somebody wrote before
   */
  constructor(connection: GatewayConnection, execPath: string, startAt = 0) {
    this.#written = startAt
    this.#sender = new ResumableSender<true>(
      connection,
      {
        request: (offset) => ({ method: 'POST', path: `${execPath}/stdin?offset=${offset}&end=1`, headers: RAW }),
        ask: async () => {
          const info = await connection.jsonOnce<ExecInfo>({
            method: 'GET',
            path: execPath,
            signal: this.#abort.signal,
          })
          return { acknowledged: info.stdinAcknowledged }
        },
        onEnd: () => true,
        startAt,
      },
      this.#queue,
      this.#abort.signal,
    )
    this.#done = this.#sender.run()
    this.#done.catch((error) => this.#queue.fail(error))
  }

  /** Bytes that the supervisor has. */
  get acknowledged(): number {
    return this.#sender.acknowledged
  }

  /** Queues bytes; resolves when more may be written without piling up. @throws when earlier bytes could not be sent. */
  async write(data: string | Uint8Array): Promise<void> {
    let room: Promise<void> | undefined
    for (const piece of split(data)) {
      room?.catch(() => {})
      room = this.#push(piece)
    }
    await room
  }

  /** Writes a whole source, pulled as there is room. */
  async writeAll(source: ByteSource): Promise<void> {
    for await (const piece of pieces(source)) await this.#push(piece)
  }

  /** Closes standard input after what was written. Resolves when all of it was acknowledged. */
  async end(): Promise<void> {
    this.#queue.end()
    try {
      await this.#done
    } catch (error) {
      // Its end was accepted and only the word of it lost.
      const { reason, facts } = CoppiceError.from(error)
      if (reason !== 'stdin_closed' || facts.acknowledged !== this.#written) throw error
    }
  }

  #push(piece: Buffer): Promise<void> {
    this.#written += piece.length
    return this.#queue.push(piece)
  }

  /** Stops writing and leaves standard input open: another writer may go on from `acknowledged`. */
  abandon(): void {
    this.#abort.abort(new CoppiceError('cancelled', 'detached', 'This writer was detached from standard input.'))
  }
}

const RAW = { 'content-type': 'application/octet-stream' }
