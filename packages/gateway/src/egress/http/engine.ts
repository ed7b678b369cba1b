import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { StreamSocket } from './stream-socket.ts'

/** Longest head, bytes. Proxies carry cookies: four times Node's own limit. */
export const MAX_HEAD_BYTES = 64 * 1024

/** What happens on one client connection. */
export interface Served {
  request(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void
  /** The request asks for another protocol; Node's HTTP has let go of the connection. */
  upgrade(request: IncomingMessage, head: Buffer): void
  connect(request: IncomingMessage, head: Buffer): void
  /** What came is not HTTP. */
  malformed(error: NodeJS.ErrnoException): void
}

/** Node's own HTTP parser, strict, for all connections that programs make to the proxy for plain requests. It never listens. */
export class HttpEngine {
  readonly #server: Server
  readonly #served = new WeakMap<Duplex, Served>()

  constructor() {
    const server = createServer({
      maxHeaderSize: MAX_HEAD_BYTES,
      // Looked at, and recorded, in `readTarget`.
      requireHostHeader: false,
      // No header of ours that speaks of it either: connections end when they have been idle, see `EgressLimits`.
      keepAliveTimeout: 0,
      requestTimeout: 0,
      headersTimeout: 0,
      // Some clients offer HTTP/2 with every plain request; the answer to that is to go on as before.
      shouldUpgradeCallback: (request) => /^websocket$/i.test(request.headers.upgrade ?? ''),
    })
    // A client that says nothing more still waits for its answer.
    Object.assign(server, { httpAllowHalfOpen: true })
    server.on('request', (request, response) => this.#of(request)?.request(request, response, false))
    server.on('checkContinue', (request, response) => this.#of(request)?.request(request, response, true))
    server.on('upgrade', (request, _socket, head) => this.#of(request)?.upgrade(request, head))
    server.on('connect', (request, _socket, head) => this.#of(request)?.connect(request, head))
    server.on('clientError', (error, socket) => this.#served.get(socket)?.malformed(error))
    this.#server = server
  }

  serve(socket: StreamSocket, served: Served): void {
    this.#served.set(socket, served)
    this.#server.emit('connection', socket)
  }

  #of(request: IncomingMessage): Served | undefined {
    return this.#served.get(request.socket)
  }
}
