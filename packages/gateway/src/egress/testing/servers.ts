import { once } from 'node:events'
import { createServer as createHttpServer, type Server as HttpServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'

/** Servers on loopback that stand for the world. */
export class World {
  readonly #servers: (Server | HttpServer)[] = []
  readonly #sockets = new Set<Socket>()

  /** @returns the port */
  async tcp(onConnection: (socket: Socket) => void): Promise<number> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {})
      onConnection(socket)
    })
    return this.#listen(server)
  }

  async http(onRequest: RequestListener, more: (server: HttpServer) => void = () => {}): Promise<number> {
    const server = createHttpServer(onRequest)
    server.keepAliveTimeout = 60_000
    more(server)
    return this.#listen(server)
  }

  /** Connections that are open now. */
  get open(): number {
    return this.#sockets.size
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy()
    for (const server of this.#servers) server.close()
  }

  async #listen(server: Server): Promise<number> {
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    this.#servers.push(server)
    return (server.address() as AddressInfo).port
  }
}
