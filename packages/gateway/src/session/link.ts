import { once } from 'node:events'
import http2, { type ClientHttp2Session, type ClientHttp2Stream, type OutgoingHttpHeaders } from 'node:http2'
import type { Socket } from 'node:net'
import { CONNECTION_WINDOW_BYTES, HTTP2_OPTIONS } from '@coppice/protocol'
import { EagerSocket } from './eager-socket.ts'

/**
 * One session with one supervisor: the gateway's end of a connection that was dialled from inside. The gateway is the
 * HTTP/2 client on it. It ends when the socket ends or when nothing at all was received for a lease.
 */
export class Link {
  readonly bootId: string
  readonly #socket: Socket
  readonly #session: ClientHttp2Session
  readonly #lease: NodeJS.Timeout
  #closed = false
  readonly closed: Promise<void>

  private constructor(socket: Socket, bootId: string, leaseMs: number) {
    this.bootId = bootId
    this.#socket = socket
    const eager = new EagerSocket(socket)
    this.#session = http2.connect('http://sandbox', { ...HTTP2_OPTIONS, createConnection: () => eager })
    this.closed = new Promise((resolve) => {
      this.#session.once('close', () => {
        this.#closed = true
        clearInterval(this.#lease)
        socket.destroy()
        resolve()
      })
    })
    // Every stream reports the end of its session by itself; without a listener the process would end.
    this.#session.on('error', () => {})
    this.#lease = watchLease(socket, leaseMs, {
      ping: () => {
        if (!this.#closed && !this.#session.destroyed) this.#session.ping(() => {})
      },
      dead: () => this.cut(),
    })
  }

  /** Takes a socket whose hello was answered. Resolves when HTTP/2 has started on it; rejects when it ends before. */
  static async open(socket: Socket, bootId: string, leaseMs: number): Promise<Link> {
    const link = new Link(socket, bootId, leaseMs)
    await Promise.race([once(link.#session, 'connect'), link.closed])
    if (link.#closed) throw new Error('the connection ended before HTTP/2 started on it')
    link.#session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
    return link
  }

  get alive(): boolean {
    return !this.#closed && !this.#session.destroyed && !this.#session.closed
  }

  /** Bytes that wait to be sent, because the supervisor does not read them. */
  get backlog(): number {
    return this.#socket.writableLength
  }

  /** Starts one request. The caller owns the stream: it must listen for errors and close what it does not read to the end. */
  request(headers: OutgoingHttpHeaders, options: { endStream: boolean }): ClientHttp2Stream {
    return this.#session.request(headers, options)
  }

  /** Ends the session at once: every stream on it breaks. */
  cut(): void {
    this.#session.destroy()
    this.#socket.destroy()
  }
}

/**
 * Any received byte is a sign of life; a ping is sent each third of a lease so that a living peer always has something to
 * answer. After a lease of silence the link is dead. A process that was itself stopped for long must not take its own
 * silence for the peer's: a late tick starts a new lease.
 */
function watchLease(socket: Socket, leaseMs: number, on: { ping: () => void; dead: () => void }): NodeJS.Timeout {
  const tickMs = leaseMs / 3
  let seenBytes = socket.bytesRead
  let seenAt = performance.now()
  let lastTick = seenAt
  return setInterval(() => {
    const now = performance.now()
    if (now - lastTick > tickMs * 2 || socket.bytesRead !== seenBytes) {
      seenBytes = socket.bytesRead
      seenAt = now
    }
    lastTick = now
    if (now - seenAt >= leaseMs) on.dead()
    else on.ping()
  }, tickMs)
}
