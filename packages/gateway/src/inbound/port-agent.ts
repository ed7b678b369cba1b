import { setMaxListeners } from 'node:events'
import { Agent, type ClientRequest } from 'node:http'
import type { Duplex } from 'node:stream'
import type { PortDialer } from './port-dialer.ts'
import { PortStream } from './port-stream.ts'

/** Connections into one port that are kept while nobody uses them. */
const MAX_IDLE = 16

/** For how long, milliseconds. Less than the 5 s after which most servers end them, so that few break under a request. */
const IDLE_MS = 4_000

/**
 * Milliseconds of rest after which a connection is not trusted with a request that cannot be sent twice: a server may be ending
 * it at this very moment, and nobody could say whether it took the request.
 */
const FRESH_MS = 1_000

/** A port of a sandbox, as it travels in the options of a request. */
export interface PortTarget {
  sandboxId: string
  port: number
}

interface Options {
  target: PortTarget
}

/** Keeps connections into sandboxes for Node's HTTP client. */
export class PortAgent extends Agent {
  readonly #dialer: PortDialer
  readonly #closed = new AbortController()

  constructor(dialer: PortDialer) {
    super({ keepAlive: true, maxFreeSockets: MAX_IDLE, timeout: IDLE_MS, scheduling: 'lifo' })
    this.#dialer = dialer
    setMaxListeners(0, this.#closed.signal)
  }

  override getName(options?: object): string {
    const { target } = options as Options
    return `${target.sandboxId}:${target.port}`
  }

  override createConnection(options: object, created?: (error: Error | null, stream: Duplex) => void): undefined {
    const { target } = options as Options
    this.#dialer.dial(target.sandboxId, target.port, this.#closed.signal).then(
      (stream) => created?.(null, stream),
      (error: Error) => created?.(error, undefined as unknown as Duplex),
    )
  }

  override keepSocketAlive(stream: Duplex): boolean {
    const may = super.keepSocketAlive(stream) as unknown as boolean
    if (may && stream instanceof PortStream) stream.rest()
    return may && !stream.destroyed
  }

  override reuseSocket(stream: Duplex, request: ClientRequest): void {
    super.reuseSocket(stream, request)
    if (stream instanceof PortStream) stream.wake()
  }

  /** Ends idle connections to a port that have rested for long; all of them with `restedMs` 0. */
  drop(target: PortTarget, restedMs = FRESH_MS): void {
    for (const stream of this.freeSockets[this.getName({ target })] ?? []) {
      const idle: unknown = stream
      if (idle instanceof PortStream && idle.restedMs >= restedMs) idle.destroy()
    }
  }

  /** Ends every connection, also those that are being made. */
  override destroy(): void {
    this.#closed.abort(new Error('the gateway is stopping'))
    super.destroy()
  }
}
