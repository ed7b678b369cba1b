import type { EgressTell, SupervisorNetwork } from '@coppice/protocol/wire'
import type { Request } from '../session/router.ts'
import { Asks } from './asks.ts'
import { Connections } from './connections.ts'
import { ControlStream } from './control.ts'
import { proxyVariables } from './environment.ts'
import { Listeners } from './listeners.ts'
import { NameTable } from './names.ts'
import { isNetwork } from './offer.ts'

export interface EgressOptions {
  /** How long a connection waits for a session, milliseconds. */
  readonly boundMs: number
  /** Called with one line for each event that somebody who reads the sandbox's log wants to know. */
  readonly log: (message: string) => void
}

/**
 * The sandbox's way out, seen from inside: listens for the programs' connections and questions for names, and asks the gateway
 * about each. It judges nothing: whoever is root in the sandbox could be in its place.
 */
export class Egress {
  readonly #asks: Asks
  readonly #connections: Connections
  readonly #listeners: Listeners
  #control: ControlStream | undefined

  constructor({ boundMs, log }: EgressOptions) {
    const names = new NameTable()
    this.#asks = new Asks(boundMs)
    this.#connections = new Connections(this.#asks, names)
    this.#listeners = new Listeners({ asks: this.#asks, names, connections: this.#connections, log })
  }

  /** Every port that is the supervisor's own. */
  get ports(): Set<number> {
    return this.#listeners.ports
  }

  /** Listens on these from now on. Resolves when each was tried; never rejects. The proxy's port, once there, stays. */
  listen(network: SupervisorNetwork): Promise<void> {
    return this.#listeners.change(network)
  }

  /** Variables for an exec; not those that one of `layers` sets. None while nothing is offered. */
  variables(execId: string, layers: readonly (Record<string, string> | undefined)[]): Record<string, string> {
    const port = this.#listeners.proxyPort
    return port === undefined ? {} : proxyVariables(port, execId, layers)
  }

  /** The gateway begins to answer questions on this stream. One before it, which cannot be of this session, is over. */
  attach({ stream }: Pick<Request, 'stream'>): void {
    const over = () => this.#asks.detach(control)
    const control = new ControlStream(stream, { tell: (tell) => this.#tell(tell), over })
    this.#control?.close()
    this.#control = control
    this.#asks.attach(control)
  }

  /** Ends everything: programs see resets. */
  close(): void {
    this.#listeners.close()
    this.#asks.close()
    this.#connections.close()
    this.#control?.close()
  }

  /** A connection has been made. False when nobody waits for it (any more). */
  reached(id: number, { stream }: Pick<Request, 'stream'>): boolean {
    return this.#asks.reached(id, stream)
  }

  #tell(tell: EgressTell): void {
    if (tell.t === 'refused' || tell.t === 'name') this.#asks.answered(tell)
    // Whatever else a newer gateway says is for newer supervisors.
    else if (tell.t === 'network' && isNetwork(tell.network)) void this.#listeners.change(tell.network)
  }
}
