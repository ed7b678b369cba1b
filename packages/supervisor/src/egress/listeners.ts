import type { SupervisorNetwork } from '@coppice/protocol/wire'
import type { Asks } from './asks.ts'
import type { Connections } from './connections.ts'
import { Listener, listenTcp } from './listener.ts'
import type { NameTable } from './names.ts'

const LOOPBACK = '127.0.0.1'

export interface ListenersOptions {
  readonly asks: Asks
  readonly names: NameTable
  readonly connections: Connections
  readonly log: (message: string) => void
}

/** What is listened on for the sandbox's programs; changed while it runs. */
export class Listeners {
  readonly #options: ListenersOptions
  #proxy: { asked: number; listener: Listener } | undefined
  #dns: { port: number; listeners: readonly Listener[] } | undefined
  /** By the port that programs mean. */
  readonly #intercepts = new Map<number, { at: number; listener: Listener }>()

  constructor(options: ListenersOptions) {
    this.#options = options
  }

  /**
   * The proxy's port: while it is listened on, or when it is a fixed one, which will be. Undefined: there is no proxy.
   */
  get proxyPort(): number | undefined {
    return this.#proxy?.listener.port ?? (this.#proxy?.asked || undefined)
  }

  /** Every port that is listened on here. */
  get ports(): Set<number> {
    return new Set(this.#all().flatMap((listener) => listener.port ?? []))
  }

  /** Opens and closes what has changed. Resolves when each new one has been tried; never rejects. */
  async change({ proxyPort, dnsPort, intercepts }: SupervisorNetwork): Promise<void> {
    // It does not move: running programs have it in their environment.
    this.#proxy ??= { asked: proxyPort, listener: this.#openProxy(proxyPort) }
    if (this.#dns?.port !== (dnsPort ?? undefined)) {
      for (const listener of this.#dns?.listeners ?? []) listener.close()
      this.#dns = dnsPort === null ? undefined : { port: dnsPort, listeners: this.#openDns(dnsPort) }
    }
    const wanted = new Map(intercepts.map(({ port, at }) => [port, at]))
    for (const [port, { at, listener }] of this.#intercepts) {
      if (wanted.get(port) === at) continue
      listener.close()
      this.#intercepts.delete(port)
    }
    for (const [port, at] of wanted) {
      if (!this.#intercepts.has(port)) this.#intercepts.set(port, { at, listener: this.#openIntercept(port, at) })
    }
    await Promise.all(this.#all().map((listener) => listener.tried))
  }

  close(): void {
    for (const listener of this.#all()) listener.close()
  }

  #all(): Listener[] {
    const intercepts = [...this.#intercepts.values()].map(({ listener }) => listener)
    return [...(this.#proxy ? [this.#proxy.listener] : []), ...(this.#dns?.listeners ?? []), ...intercepts]
  }

  #openProxy(port: number): Listener {
    const { connections, log } = this.#options
    // Any free port is asked for where the network is the host's. With one of its own, there is nothing but loopback.
    const host = port === 0 ? LOOPBACK : undefined
    return new Listener(`proxy on port ${port}`, () => listenTcp(port, connections.proxied, host), log)
  }

  #openIntercept(port: number, at: number): Listener {
    const { connections, log } = this.#options
    const serve = () => listenTcp(at, (socket) => connections.intercepted(socket, port))
    return new Listener(`connections to port ${port} on port ${at}`, serve, log)
  }

  #openDns(port: number): Listener[] {
    const { asks, names, connections, log } = this.#options
    // Loaded when there is a resolver: sandboxes that share the host's network have none.
    const loaded = import('./dns/serve.ts').then(({ DnsService }) => new DnsService(names, (name) => asks.name(name)))
    return [
      new Listener(`resolver on UDP port ${port}`, async () => (await loaded).listenUdp(port), log),
      new Listener(
        `resolver on TCP port ${port}`,
        async () => {
          const service = await loaded
          return listenTcp(port, (socket) => {
            if (connections.counted(socket)) void service.serveTcp(socket)
          })
        },
        log,
      ),
    ]
  }
}
