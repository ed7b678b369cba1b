import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { resetSocket, splice } from '@coppice/protocol/splice'
import { CoppiceError } from '@coppice/protocol/wire'

export interface ForwardOptions {
  /** Port here; 0 or absent: any free one. */
  localPort?: number | undefined
  /** Address here. Default `127.0.0.1`: this machine alone. */
  host?: string | undefined
  /** Told why a single connection could not be made. It is reset; the others and the listener go on. */
  onError?: ((error: CoppiceError) => void) | undefined
}

/** A port here that leads to a port of a sandbox, until it is closed. */
export class PortForward {
  /** Port here. */
  readonly port: number
  /** Address here. */
  readonly host: string
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #open: (signal: AbortSignal) => Promise<Duplex>
  readonly #onError: ((error: CoppiceError) => void) | undefined

  private constructor(server: Server, open: (signal: AbortSignal) => Promise<Duplex>, options: ForwardOptions) {
    const { address, port } = server.address() as AddressInfo
    this.port = port
    this.host = address
    this.#server = server
    this.#open = open
    this.#onError = options.onError
    server.on('connection', (socket) => void this.#lead(socket))
    server.on('error', () => {})
  }

  /** @param open makes one connection to the port of the sandbox. @throws `unavailable/listen_failed` */
  static async listen(open: (signal: AbortSignal) => Promise<Duplex>, options: ForwardOptions): Promise<PortForward> {
    const { localPort = 0, host = '127.0.0.1' } = options
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true })
    try {
      server.listen(localPort, host)
      await once(server, 'listening')
    } catch (cause) {
      throw listenFailed(host, localPort, cause as NodeJS.ErrnoException)
    }
    return new PortForward(server, open, options)
  }

  /** For what speaks HTTP. */
  get url(): string {
    return `http://${this.host.includes(':') ? `[${this.host}]` : this.host}:${this.port}`
  }

  /** Ends it with all its connections. */
  async close(): Promise<void> {
    const closed = this.#server.listening ? once(this.#server, 'close') : undefined
    this.#server.close()
    for (const socket of this.#sockets) resetSocket(socket)
    await closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #lead(socket: Socket): Promise<void> {
    const gone = new AbortController()
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => {
      this.#sockets.delete(socket)
      gone.abort()
    })
    try {
      splice(socket, await this.#open(gone.signal))
    } catch (error) {
      if (!gone.signal.aborted) this.#onError?.(CoppiceError.from(error))
      resetSocket(socket)
    }
  }
}

function listenFailed(host: string, port: number, cause: NodeJS.ErrnoException): CoppiceError {
  const hints: Record<string, string> = {
    EADDRINUSE: 'Take another port, or 0 for any free one.',
    EACCES: 'Ports below 1024 are for root: take a higher one.',
  }
  const hint = hints[cause.code ?? '']
  const message = `${host}:${port} cannot be listened on: ${cause.code ?? cause.message}.`
  return new CoppiceError('unavailable', 'listen_failed', message, {
    facts: { host, port, errno: cause.code },
    retryable: false,
    ...(hint === undefined ? {} : { hint }),
    cause,
  })
}
