import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'

/**
 * Bytes that may wait for a peer that does not read. An honest one reads always: 256 KiB for each of 128 streams at once. More
 * is one that announces windows and then stays away.
 */
const MAX_WAITING_BYTES = 32 * 1024 * 1024

/**
 * A socket whose writes are done when they are handed over. Node's HTTP/2 stops receiving while a write of its own is under
 * way; with bulk in both directions, both ends of a session then wait for the other to read, and the session stands still
 * until its lease ends. One end that never waits for its writes is enough. What piles up here is bounded: flow control keeps an
 * honest peer far below the limit, and the other side chooses those windows, so a dishonest one is cut at it.
 */
export class EagerSocket extends Duplex {
  readonly #socket: Socket

  constructor(socket: Socket) {
    super()
    this.#socket = socket
    socket.on('data', (chunk) => {
      if (!this.push(chunk)) socket.pause()
    })
    socket.once('end', () => this.push(null))
    socket.once('close', () => this.destroy())
    socket.on('error', (error) => this.destroy(error))
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#socket.write(chunk)
    this.#check()
    done()
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#socket.cork()
    for (const { chunk } of chunks) this.#socket.write(chunk)
    this.#socket.uncork()
    this.#check()
    done()
  }

  #check(): void {
    if (this.#socket.writableLength > MAX_WAITING_BYTES) this.destroy(new Error('the peer does not read'))
  }

  override _final(done: () => void): void {
    this.#socket.end()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy()
    done(error)
  }
}
