import type { ClientHttp2Stream } from 'node:http2'
import { Duplex } from 'node:stream'
import { resetStream, type SessionLink, streamInside } from '../session-link.ts'
import type { Inside } from '../tunnel/join.ts'

/** A stream of the session as Node's HTTP server takes connections. Destroyed before its end, it is a reset to the program. */
export class StreamSocket extends Duplex {
  readonly #stream: ClientHttp2Stream
  readonly #inside: Inside
  #ended = false
  bytesRead = 0

  constructor(stream: ClientHttp2Stream, link: SessionLink) {
    super({ allowHalfOpen: true, highWaterMark: 64 * 1024 })
    this.#stream = stream
    this.#inside = streamInside(stream, link)
    stream.on('data', (chunk: Buffer) => {
      this.bytesRead += chunk.length
      if (!this.push(chunk)) stream.pause()
    })
    this.#inside.onceEnded(() => {
      this.#ended = this.#inside.whole()
      if (this.#ended) this.push(null)
      else this.destroy()
    })
    stream.once('close', () => {
      if (!this.#ended || !this.writableFinished) this.destroy()
    })
  }

  /** As one side of a connection that is no HTTP any more. */
  get inside(): Inside {
    return {
      duplex: this,
      onceEnded: (onEnd) => this.once('end', onEnd),
      reset: () => this.destroy(),
      whole: () => this.#inside.whole(),
      lost: () => this.#inside.lost(),
    }
  }

  override _read(): void {
    this.#stream.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#stream.write(chunk, done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#stream.cork()
    for (const [at, { chunk }] of chunks.entries()) {
      if (at === chunks.length - 1) this.#stream.write(chunk, done)
      else this.#stream.write(chunk)
    }
    this.#stream.uncork()
  }

  override _final(done: () => void): void {
    this.#stream.end(done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (!this.#ended || !this.writableFinished) resetStream(this.#stream)
    done(error)
  }
}
