import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Somebody at a unix socket who says what a test wants: for faults of a connection that no engine shows when it is asked to. */
export class Peer {
  readonly dir = mkdtempSync(join(tmpdir(), 'cpp-'))
  readonly socket: string
  readonly #server: http.Server

  private constructor(answer: http.RequestListener, name: string) {
    this.socket = join(this.dir, name)
    this.#server = http.createServer(answer)
  }

  static async listen(answer: http.RequestListener, name = 'peer.sock'): Promise<Peer> {
    const peer = new Peer(answer, name)
    peer.#server.listen(peer.socket)
    await once(peer.#server, 'listening')
    return peer
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
    rmSync(this.dir, { recursive: true, force: true })
  }
}
