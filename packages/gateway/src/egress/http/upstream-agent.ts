import { Agent, type AgentOptions, type ClientRequestArgs } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Asked, Outbound } from '../outbound.ts'
import type { Judge } from '../policy/judge.ts'
import type { ReachMode } from '../reach.ts'
import type { SandboxEgress } from '../sandbox.ts'
import { cutSocket } from '../tunnel/cut-socket.ts'

/** What a request carries to the place where its connection is made. */
export interface Wanted {
  asked: Asked
  mode: ReachMode
}

/** Kept-alive connections of one client connection. Requests on it come one after the other: the others of these are idle. */
const MAX_CONNECTIONS = 4

const OPTIONS: AgentOptions = { keepAlive: true, maxFreeSockets: MAX_CONNECTIONS, scheduling: 'lifo' }

/**
 * The connections that one client connection has led to. Never shared with another: servers may tie an identity to a
 * connection. Each was judged when it was made, and again at each change of the policy.
 */
export class UpstreamAgent extends Agent {
  readonly #sandbox: SandboxEgress
  readonly #gone: AbortSignal
  readonly #open = new Set<Outbound>()

  constructor(sandbox: SandboxEgress, gone: AbortSignal) {
    super(OPTIONS)
    this.#sandbox = sandbox
    this.#gone = gone
  }

  /** Bytes moved so far on what is open. */
  get bytes(): number {
    let bytes = 0
    for (const { bytesIn, bytesOut } of this.#open) bytes += bytesIn + bytesOut
    return bytes
  }

  override createConnection(
    options: ClientRequestArgs,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined {
    const { asked, mode } = options as unknown as Wanted
    const done = callback as (error: Error | null, stream?: Duplex) => void
    this.#sandbox.reach(asked, mode, this.#gone).then(
      (outbound) => done(null, this.#take(outbound)),
      (error: Error) => done(error),
    )
  }

  /** Ends what is not allowed any more. */
  rejudge(judge: Judge): void {
    for (const outbound of [...this.#open]) if (!outbound.judged(judge).ok) this.#cut(outbound, 'policy')
  }

  /** Ends everything. */
  cut(end: string): void {
    for (const outbound of [...this.#open]) this.#cut(outbound, end)
    this.destroy()
  }

  #take(outbound: Outbound): Duplex {
    const { socket } = outbound
    // A server that closes an idle connection must take it out of here.
    socket.allowHalfOpen = false
    this.#open.add(outbound)
    socket.once('close', (failed) => {
      this.#open.delete(outbound)
      this.#sandbox.ended(outbound, failed ? 'reset' : 'closed')
    })
    const [oldest] = this.#open
    if (this.#open.size > MAX_CONNECTIONS && oldest) this.#cut(oldest, 'closed')
    return socket
  }

  #cut(outbound: Outbound, end: string): void {
    this.#open.delete(outbound)
    this.#sandbox.ended(outbound, end)
    cutSocket(outbound.socket)
  }
}
