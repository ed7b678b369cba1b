import type { ClientHttp2Stream, IncomingHttpHeaders, IncomingHttpStatusHeader, OutgoingHttpHeaders } from 'node:http2'
import { constants } from 'node:http2'
import { CoppiceError } from '@coppice/protocol'
import type { Link } from '../session/link.ts'

/** Largest error answer that is read from a sandbox, bytes. */
const MAX_ERROR_BYTES = 64 * 1024

/** Thrown inside the relay when the session under a call broke: the call may be made again on the next one. */
export class LinkBroken extends Error {
  override readonly name = 'LinkBroken'
}

export type Answer = IncomingHttpHeaders & IncomingHttpStatusHeader

/** One request on one session. */
export class Upstream {
  readonly stream: ClientHttp2Stream
  readonly #answer: Promise<Answer>

  constructor(link: Link, headers: OutgoingHttpHeaders, endStream: boolean) {
    if (!link.alive) throw new LinkBroken()
    try {
      this.stream = link.request(headers, { endStream })
    } catch {
      throw new LinkBroken()
    }
    this.#answer = new Promise((resolve, reject) => {
      this.stream.once('response', resolve)
      this.stream.once('close', () => reject(new LinkBroken()))
    })
    this.#answer.catch(() => {})
    this.stream.on('error', () => {})
  }

  /**
   * The answer's headers. The link may be well and the supervisor behind it not: whoever does not send a long body says how
   * long it waits.
   *
   * @throws LinkBroken, `unavailable/supervisor_silent` after `withinMs`
   */
  async answer(withinMs?: number): Promise<Answer> {
    if (withinMs === undefined) return this.#answer
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, reject) => {
      const error = new CoppiceError(
        'unavailable',
        'supervisor_silent',
        `The supervisor did not answer within ${withinMs} ms.`,
      )
      timer = setTimeout(() => reject(error), withinMs)
    })
    try {
      return await Promise.race([this.#answer, late])
    } finally {
      clearTimeout(timer)
    }
  }

  /** True when the answer came to its end; false for a stream that was cut. */
  get complete(): boolean {
    return this.stream.readableEnded && this.stream.rstCode === constants.NGHTTP2_NO_ERROR
  }

  /** Tells the supervisor that nobody reads any more. */
  cancel(): void {
    if (!this.stream.closed) this.stream.close(constants.NGHTTP2_CANCEL)
  }

  /** The whole of a small answer. @throws LinkBroken, or `internal/answer_too_large` */
  async body(maxBytes: number): Promise<Buffer> {
    const chunks: Buffer[] = []
    let bytes = 0
    try {
      for await (const chunk of this.stream as AsyncIterable<Buffer>) {
        bytes += chunk.length
        if (bytes > maxBytes) {
          this.cancel()
          throw new CoppiceError('internal', 'answer_too_large', 'The sandbox sent an answer that is too large.')
        }
        chunks.push(chunk)
      }
    } catch (error) {
      throw error instanceof CoppiceError ? error : new LinkBroken()
    }
    if (!this.complete) throw new LinkBroken()
    return Buffer.concat(chunks)
  }

  /** The error that an answer with a failing status carries. @throws LinkBroken */
  async error(): Promise<CoppiceError> {
    const text = (await this.body(MAX_ERROR_BYTES)).toString('utf8')
    try {
      return CoppiceError.fromBody((JSON.parse(text) as { error?: unknown }).error)
    } catch {
      return CoppiceError.fromBody(undefined)
    }
  }
}
