import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, type Server as NetServer, type Socket } from 'node:net'
import { CoppiceError } from '@coppice/protocol'
import { Guard } from '../../http/guard.ts'
import { frontOptions, serve } from '../front.ts'
import { Inbound } from '../inbound.ts'
import type { PreviewTarget } from '../preview.ts'
import { CERTIFICATE } from './certificate.ts'
import { ForgedSandbox } from './forged-sandbox.ts'

export const SECRET = 'the-gateways-own-token-0123456789abcdef'

/** Ids as sandboxes have them. */
export const BOX = 'sb-0123456789abcd'
export const OTHER = 'sb-zzzzzzzzzzzzzz'

/** A real server with the front before an API that only remembers what reached it. */
export class FrontServer {
  readonly box = new ForgedSandbox()
  readonly targets = new Map<string, PreviewTarget & { gone?: CoppiceError }>()
  /** What came through to the API. */
  readonly api: IncomingMessage[] = []
  readonly faults: unknown[] = []
  readonly guard = new Guard(SECRET, ['127.0.0.1', 'localhost', 'gateway.example'])
  readonly inbound: Inbound
  readonly #server: Server
  readonly #closing: { close(): unknown }[] = []

  constructor(options: { maxConnections?: number; names?: string[]; tls?: boolean } = {}) {
    this.targets.set(BOX, { id: BOX, name: 'box', publicPorts: [] })
    this.targets.set(OTHER, { id: OTHER, name: null, publicPorts: [] })
    this.inbound = new Inbound({
      secret: SECRET,
      guard: this.guard,
      target: (idOrName) => this.#find(idOrName),
      link: async (id) => {
        const { gone } = this.#find(id)
        if (gone) throw gone
        return this.box.link()
      },
      apiPort: () => this.port,
      log: (_message, facts) => this.faults.push(facts.err),
      ...(options.maxConnections === undefined ? {} : { maxConnections: options.maxConnections }),
      names: options.names ?? [],
    })
    this.#server = options.tls
      ? createTlsServer({ ...CERTIFICATE, ...frontOptions(this.inbound), allowHalfOpen: true })
      : createServer(frontOptions(this.inbound))
    serve(
      this.#server,
      (request, response) => {
        this.api.push(request)
        response.end('api')
      },
      this.inbound,
    )
  }

  async start(): Promise<this> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return this
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** A server as it may run inside, on a port of its own. */
  async inside(server: NetServer): Promise<number> {
    server.on('connection', (socket: Socket) => socket.on('error', () => {}))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    this.#closing.push(server)
    return (server.address() as AddressInfo).port
  }

  /** A connection to the front, for what no client would send. */
  raw(): Socket {
    const socket = connect({ port: this.port, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('error', () => {})
    this.#closing.push({ close: () => socket.destroy() })
    return socket
  }

  close(): void {
    this.inbound.close()
    for (const one of this.#closing) {
      if ('closeAllConnections' in one) (one as Server).closeAllConnections()
      one.close()
    }
    this.#server.closeAllConnections()
    this.#server.close()
    this.box.close()
  }

  #find(idOrName: string) {
    const found = this.targets.get(idOrName) ?? [...this.targets.values()].find(({ name }) => name === idOrName)
    if (found) return found
    throw new CoppiceError('not_found', 'sandbox_not_found', `There is no sandbox ${idOrName}.`)
  }
}
