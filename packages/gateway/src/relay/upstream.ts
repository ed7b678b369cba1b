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
  /** The answer was its headers alone: its stream may be gone before anybody can listen to its end. */
  bodyless = false

  constructor(link: Link, headers: OutgoingHttpHeaders, endStream: boolean) {
    if (!link.alive) throw new LinkBroken()
    try {
      this.stream = link.request(headers, { endStream })
    } catch {
      throw new LinkBroken()
    }
    // Said before anything can come: Node throws away what a closed stream holds while nobody has said that it will be read.
    this.stream.pause()
    this.#answer = new Promise((resolve, reject) => {
      this.stream.once('response', (headers, flags) => {
        this.bodyless = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0
        resolve(headers)
      })
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
    if (this.stream.destroyed) return
    if (this.stream.writableEnded) this.stream.close(constants.NGHTTP2_CANCEL)
    // `close` would say END_STREAM first: a body that is not whole must not look like one that is.
    else this.stream.destroy(new Error('cancelled'))
  }

  /**
   * The answer's body. Not the stream's own iterator, nor `pipeline`: both take a stream whose two sides are closed for one that
   * was cut, also when its last bytes only wait to be read.
   *
   * @throws LinkBroken when it did not come to its end
   */
  async *chunks(): AsyncGenerator<Buffer, void, void> {
    if (this.bodyless) return
    const { stream } = this
    let wake = () => {}
    const onEvent = () => wake()
    const events = ['readable', 'end', 'close'] as const
    for (const event of events) stream.on(event, onEvent)
    try {
      while (!stream.readableEnded) {
        const chunk = stream.read() as Buffer | null
        if (chunk) {
          yield chunk
          continue
        }
        if (stream.readableEnded) break
        if (stream.destroyed) throw new LinkBroken()
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      if (!this.complete) throw new LinkBroken()
    } finally {
      for (const event of events) stream.off(event, onEvent)
    }
  }

  /** The whole of a small answer. @throws LinkBroken, or `internal/answer_too_large` */
  async body(maxBytes: number): Promise<Buffer> {
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of this.chunks()) {
      bytes += chunk.length
      if (bytes > maxBytes) {
        this.cancel()
        throw new CoppiceError('internal', 'answer_too_large', 'The sandbox sent an answer that is too large.')
      }
      chunks.push(chunk)
    }
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
