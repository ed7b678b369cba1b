import type { ServerHttp2Stream } from 'node:http2'
import { type EgressAsk, type EgressTell, MAX_EGRESS_LINE_BYTES } from '@coppice/protocol/wire'
import { Lines } from './lines.ts'

/** Bytes of asks that may wait for a gateway that does not read. It is far beyond what one that lives lets pile up. */
const MAX_WAITING_BYTES = 512 * 1024

/** The stream on which a supervisor asks and its gateway tells: lines of JSON, for as long as their link lives. */
export class ControlStream {
  readonly #stream: ServerHttp2Stream

  /**
   * Answers the request. `tell` gets every line that is an object with a `t`; what it means is for its reader to check. `over` is
   * called, once or twice, when the gateway has ended it or it is lost.
   */
  constructor(stream: ServerHttp2Stream, on: { tell: (tell: EgressTell) => void; over: () => void }) {
    this.#stream = stream
    stream.respond({ ':status': 200, 'content-type': 'application/x-ndjson' })
    const lines = new Lines(MAX_EGRESS_LINE_BYTES)
    stream.on('data', (chunk: Buffer) => {
      try {
        for (const line of lines.push(chunk)) {
          const value: unknown = JSON.parse(line)
          if (value !== null && typeof value === 'object' && 't' in value) on.tell(value as EgressTell)
        }
      } catch {
        this.close()
      }
    })
    stream.once('end', () => {
      on.over()
      stream.end()
    })
    stream.once('close', on.over)
  }

  /** Sends one line. False when the gateway reads nothing, so that it is no use to wait for its answer. */
  send(ask: EgressAsk): boolean {
    if (this.#stream.destroyed || this.#stream.writableEnded) return false
    if (this.#stream.writableLength > MAX_WAITING_BYTES) return false
    this.#stream.write(`${JSON.stringify(ask)}\n`)
    return true
  }

  close(): void {
    if (!this.#stream.destroyed) this.#stream.destroy(new Error('reset'))
  }
}
