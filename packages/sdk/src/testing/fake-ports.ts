import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import net, { type AddressInfo, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { CoppiceError, httpStatus } from '@coppice/protocol/wire'

/** A real server that answers for the network of sandboxes: tunnels to ports of this machine, and canned JSON. */
export class FakePorts {
  readonly token = 'fake-token'
  /** `METHOD path body` of every call but tunnels, in order. */
  readonly calls: string[] = []
  /** Answers in order, JSON or text; `{}` when there is none. */
  readonly answers: unknown[] = []
  /** Refuses the next tunnel. */
  refusal: CoppiceError | undefined
  readonly tunnels: IncomingMessage[] = []
  readonly #sockets = new Set<Duplex>()
  #server = this.#newServer()
  #port = 0

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  async start(): Promise<this> {
    this.#server = this.#newServer()
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
    return this
  }

  /** Ends it with all its connections. `start` brings it back at the same port. */
  kill(): void {
    this.#server.closeAllConnections()
    this.#server.close()
    for (const socket of this.#sockets) (socket as Socket).resetAndDestroy()
    this.#sockets.clear()
  }

  #newServer() {
    const server = http.createServer(async (request, response) => {
      let body = ''
      for await (const chunk of request) body += chunk
      this.calls.push(`${request.method} ${request.url} ${body}`.trim())
      const answer = this.answers.shift() ?? {}
      if (answer instanceof CoppiceError) response.statusCode = httpStatus(answer.code)
      response.end(
        answer instanceof CoppiceError
          ? JSON.stringify({ error: answer.toBody() })
          : typeof answer === 'string'
            ? answer
            : JSON.stringify(answer),
      )
    })
    server.on('upgrade', (request: IncomingMessage, socket: Duplex) => this.#tunnel(request, socket))
    return server
  }

  #tunnel(request: IncomingMessage, socket: Duplex): void {
    this.tunnels.push(request)
    this.#sockets.add(socket)
    socket.on('error', () => {})
    const { refusal } = this
    if (refusal) {
      this.refusal = undefined
      const body = JSON.stringify({ error: refusal.toBody() })
      const status = `HTTP/1.1 ${httpStatus(refusal.code)} No`
      socket.end(`${status}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`)
      return
    }
    const port = Number(/\/ports\/(\d+)\/connect$/.exec(request.url ?? '')?.[1])
    const inner = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }, () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: coppice-tcp\r\n\r\n')
      inner.pipe(socket)
      socket.pipe(inner)
    })
    inner.on('error', () => (socket as Socket).resetAndDestroy())
    socket.on('error', () => inner.resetAndDestroy())
  }
}
