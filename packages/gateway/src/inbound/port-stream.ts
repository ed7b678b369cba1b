import type { ClientHttp2Stream } from 'node:http2'
import { constants } from 'node:http2'
import { Duplex } from 'node:stream'

/** Milliseconds that a server has to end a connection that was ended here. */
const LINGER_MS = 5_000

/**
 * A connection to a port of a sandbox. Its bytes travel on one stream of the session: the end of the stream's data is FIN, both
 * ways for themselves, and a cut stream is a reset. Has of a socket what Node's HTTP client asks of one.
 */
export class PortStream extends Duplex {
  readonly #stream: ClientHttp2Stream
  #ended = false
  #idle = false
  #idleSince = 0
  #idleTimer: NodeJS.Timeout | undefined
  /** Milliseconds after which it may not rest any longer, as the agent that keeps it has said. */
  timeout = 0

  /** @param stream one that was answered with 200, paused */
  constructor(stream: ClientHttp2Stream) {
    super({ allowHalfOpen: true })
    this.#stream = stream
    // Node's HTTP client listens for errors, but not at every moment.
    this.on('error', () => {})
    stream.on('data', (chunk: Buffer) => {
      // Nobody asked for these: what follows would be taken for the answer to the next request.
      if (this.#idle) this.destroy()
      else if (!this.push(chunk)) stream.pause()
    })
    stream.once('end', () => {
      // A stream that was cut ends as well.
      if (stream.rstCode !== constants.NGHTTP2_NO_ERROR) return
      this.#ended = true
      if (this.#idle) this.destroy()
      else this.push(null)
    })
    stream.once('close', () => {
      const cut = stream.rstCode !== constants.NGHTTP2_NO_ERROR || !this.#ended
      if (cut && !this.destroyed) this.destroy(reset())
    })
    if (stream.destroyed) process.nextTick(() => this.destroy(reset()))
  }

  override _read(): void {
    this.#stream.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    // An empty write is how Node is made to send a head; there is no such thing on the session.
    if (chunk.length === 0) done()
    else this.#stream.write(chunk, done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#stream.cork()
    const last = chunks.length - 1
    chunks.forEach(({ chunk }, at) => {
      if (at === last) this.#stream.write(chunk, done)
      else this.#stream.write(chunk)
    })
    this.#stream.uncork()
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#stream.end(done)
  }

  /** Without an error: a FIN for a server that has nothing more to say or to hear, else a reset. */
  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    clearTimeout(this.#idleTimer)
    const stream = this.#stream
    if (!error && (this.#idle || this.#ended)) {
      stream.end()
      stream.resume()
      const linger = setTimeout(() => stream.destroy(reset()), LINGER_MS).unref()
      stream.once('close', () => clearTimeout(linger))
    } else {
      // Not `close(NGHTTP2_CANCEL)`: that says END_STREAM first, and the other end takes what was cut for whole.
      stream.destroy(reset())
    }
    done(error)
  }

  /** Nobody uses it for now: it ends after `timeout`, or when anything at all comes from inside. */
  rest(): void {
    this.#idle = true
    this.#idleSince = performance.now()
    if (this.timeout > 0) this.#idleTimer = setTimeout(() => this.destroy(), this.timeout).unref()
    // An end that came while the last answer was read.
    if (this.#ended || this.readableEnded) this.destroy()
    else this.#stream.resume()
  }

  /** It is used again. */
  wake(): void {
    this.#idle = false
    clearTimeout(this.#idleTimer)
  }

  /** Milliseconds for which it has rested. */
  get restedMs(): number {
    return performance.now() - this.#idleSince
  }

  setTimeout(ms: number): this {
    this.timeout = ms
    return this
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }
}

function reset(): Error {
  return Object.assign(new Error('the connection into the sandbox was reset'), { code: 'ECONNRESET' })
}
