import type { GatewayStatus } from '@coppice/protocol/wire'
import { Checkpoints } from './checkpoints.ts'
import { type ConnectionOptions, GatewayConnection } from './connection.ts'
import { Images } from './images.ts'
import { Sandboxes } from './sandboxes.ts'

/** A client of one gateway. Connections are made when they are needed and kept. */
export class Coppice {
  readonly checkpoints: Checkpoints
  readonly images: Images
  readonly sandboxes: Sandboxes
  readonly #connection: GatewayConnection

  /** Finds the gateway by `url` and `token`, by `COPPICE_URL` and `COPPICE_TOKEN`, or by the home's `gateway.json`. */
  constructor(options: ConnectionOptions = {}) {
    this.#connection = new GatewayConnection(options)
    this.checkpoints = new Checkpoints(this.#connection)
    this.images = new Images(this.#connection)
    this.sandboxes = new Sandboxes(this.#connection, { images: this.images, checkpoints: this.checkpoints })
  }

  /** The gateway, its drivers and counts. */
  status(): Promise<GatewayStatus> {
    return this.#connection.json({ method: 'GET', path: '/v1/status' }, true)
  }

  /** Is a gateway there. Needs no token. */
  health(): Promise<{ ok: true; version: string }> {
    return this.#connection.json({ method: 'GET', path: '/healthz' }, true)
  }

  /** Ends the gateway. Sandboxes go on. */
  async shutdown(): Promise<void> {
    await this.#connection.json({ method: 'POST', path: '/v1/shutdown' }, false)
  }

  /** Ends its connections. A program that just ends need not call it. */
  close(): void {
    this.#connection.close()
  }
}

let shared: Coppice | undefined

/** The client that `Sandbox.create` and the like use when they are given none. */
export function defaultClient(): Coppice {
  shared ??= new Coppice()
  return shared
}
