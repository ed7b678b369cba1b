import type { Socket } from 'node:net'
import type { Opened } from '../listener.ts'
import type { NameTable } from '../names.ts'
import { type AskName, Resolver } from './resolver.ts'
import { serveTcp } from './tcp.ts'
import { serveUdp } from './udp.ts'

/** The sandbox's resolver and its two ways in. */
export class DnsService {
  readonly #resolver: Resolver

  constructor(names: NameTable, ask: AskName) {
    this.#resolver = new Resolver(names, ask)
  }

  /** Rejects when the port cannot be had. */
  listenUdp(port: number): Promise<Opened> {
    return serveUdp(this.#resolver, port)
  }

  /** Resolves when the connection is over. Never rejects. */
  serveTcp(socket: Socket): Promise<void> {
    return serveTcp(this.#resolver, socket)
  }
}
