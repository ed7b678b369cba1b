import { type IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { CoppiceError, httpStatus } from '@coppice/protocol'
import { sendError } from '../relay/client.ts'
import { PreviewAccess, TOKEN_NAME } from './access.ts'
import { PreviewHosts } from './address.ts'
import { exchange } from './exchange.ts'
import type { Front } from './front.ts'
import { bodyOf, isSecure } from './headers.ts'
import { PortAgent } from './port-agent.ts'
import { PortDialer, type PortDialerOptions } from './port-dialer.ts'
import { admit, type PreviewOptions, type PreviewTarget } from './preview.ts'
import { refuse } from './refusal.ts'
import { openTunnel, tunnelCall } from './tunnel.ts'
import { passUpgrade } from './upgrade.ts'

/** Milliseconds that a client has to read the last answer on a connection. */
const LINGER_MS = 5_000

export interface InboundOptions extends PortDialerOptions {
  /** The gateway's own token: the tokens of previews are made from it. */
  secret: string
  /** A sandbox by id or name, one that exists. @throws `not_found/…` */
  target: (idOrName: string) => PreviewTarget
  /** The API's guard. @throws when a request may not call the API */
  guard: { check(request: IncomingMessage, open: boolean): void }
  /** Port on loopback on which the gateway serves. */
  apiPort: () => number
  /** Names by which the gateway is called, without ports. Below those that are no addresses, previews are served as well. */
  names?: Iterable<string>
  /** Told of faults of the gateway itself. */
  log?: (message: string, facts: Record<string, unknown>) => void
}

/** The ways into sandboxes: previews under addresses of their own, and raw connections for clients of the API. */
export class Inbound implements Front {
  readonly #options: InboundOptions
  readonly #access: PreviewAccess
  readonly #hosts: PreviewHosts
  readonly #preview: PreviewOptions
  readonly #dialer: PortDialer
  readonly #agent: PortAgent
  readonly #sockets = new Set<Duplex>()

  constructor(options: InboundOptions) {
    this.#options = options
    this.#access = new PreviewAccess(options.secret)
    this.#hosts = new PreviewHosts(options.names ?? [])
    this.#preview = { access: this.#access, hosts: this.#hosts, target: options.target }
    this.#dialer = new PortDialer(options)
    this.#agent = new PortAgent(this.#dialer)
  }

  /** True for requests to hosts that are not the API's but those of sandboxes' ports. */
  handles(request: IncomingMessage): boolean {
    return this.#hosts.claims(request.headers.host ?? '')
  }

  /** Answers a request for which `handles` is true. Never throws. */
  request(request: IncomingMessage, response: ServerResponse): void {
    request.on('error', () => {})
    response.on('error', () => {})
    this.#answer(request, response).catch((error: unknown) => {
      this.#logFault(error)
      refuse(request, response, error)
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const inward = admit(this.#preview, request, response)
    if (inward) await exchange(this.#agent, inward, request, response)
  }

  /** True for requests that become connections: a preview's WebSocket, an API client's raw port. Others go on as they are. */
  upgrades(request: IncomingMessage): boolean {
    if (this.handles(request)) return request.method === 'GET' && bodyOf(request) === 'none'
    return tunnelCall(request) !== undefined
  }

  /** Takes over a connection for which `upgrades` is true. Never throws. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.#sockets.delete(socket))
    const answer = () => answerOn(request, socket)
    const preview = this.handles(request)
    this.#upgrade(request, socket, head, answer).catch((error: unknown) => {
      if (socket.destroyed) return
      this.#logFault(error)
      const failure = CoppiceError.from(error)
      if (preview) refuse(request, answer(), failure)
      else sendError(answer(), failure.toBody(), httpStatus(failure.code), true)
    })
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, answer: () => ServerResponse): Promise<void> {
    if (this.handles(request)) {
      const inward = admit(this.#preview, request, undefined)
      if (inward) await passUpgrade(this.#agent, inward, { request, socket, head, answer })
      return
    }
    this.#options.guard.check(request, false)
    const call = tunnelCall(request)
    if (!call) throw new CoppiceError('not_found', 'no_route', 'Nothing here speaks the protocol that was asked for.')
    await openTunnel(this.#dialer, this.#options.target(call.sandbox), call.port, socket, head)
  }

  /**
   * The address under which a port is served, with its token unless it is public. It has the id, never the name: a name may go to
   * another sandbox, and a browser would give that one what it keeps for this one.
   *
   * @param asked the call that wants to know: through another machine's name, the address has that name
   */
  previewUrl(sandbox: PreviewTarget, port: number, asked?: IncomingMessage): string {
    const base = this.#hosts.baseOf(asked)
    const remote = asked !== undefined && base !== 'localhost'
    const apiPort = remote ? asked.socket.localPort : this.#options.apiPort()
    const scheme = remote && isSecure(asked) ? 'https' : 'http'
    const search = sandbox.publicPorts.includes(port) ? '' : `?${TOKEN_NAME}=${this.#access.token(sandbox.id)}`
    return `${scheme}://${port}-${sandbox.id}.${base}:${apiPort}/${search}`
  }

  /** Ends every connection into every sandbox. */
  close(): void {
    this.#agent.destroy()
    for (const socket of this.#sockets) socket.destroy()
  }

  #logFault(error: unknown): void {
    if (CoppiceError.from(error).code === 'internal')
      this.#options.log?.('a request for a port failed inside the gateway', { err: error })
  }
}

/** An ordinary answer on a connection that was to become something else. The connection ends with it. */
function answerOn(request: IncomingMessage, socket: Duplex): ServerResponse {
  const response = new ServerResponse(request)
  response.shouldKeepAlive = false
  response.assignSocket(socket as Socket)
  response.on('error', () => {})
  response.once('finish', () => {
    response.detachSocket(socket as Socket)
    socket.end()
    // What the client still sends is read and dropped for a moment, so that the answer is not lost in a reset.
    socket.resume()
    setTimeout(() => socket.destroy(), LINGER_MS).unref()
  })
  return response
}
