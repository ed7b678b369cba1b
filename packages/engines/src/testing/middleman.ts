import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Somebody between a client and its engine, who sees which call each connection is for, refuses some, and cuts others. */
export class Middleman {
  readonly #dir = mkdtempSync(join(tmpdir(), 'cpm-'))
  readonly socket = join(this.#dir, 'engine.sock')
  readonly #server: net.Server
  readonly #open = new Map<net.Socket, string>()
  /** Paths, without the version, that are answered with 403. */
  refused = new Set<string>()

  private constructor(engine: string) {
    this.#server = net.createServer((near) => {
      const far = net.connect(engine)
      const end = (): void => {
        near.destroy()
        far.destroy()
        this.#open.delete(near)
      }
      for (const socket of [near, far]) socket.on('error', () => {}).once('close', end)
      near.once('data', (first: Buffer) => {
        const path = /^[A-Z]+ (?:\/v[\d.]+)?([^ ?]+)/.exec(first.toString('latin1'))?.[1] ?? ''
        if (this.refused.has(path)) {
          near.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 9\r\nconnection: close\r\n\r\nnot here\n')
          return
        }
        this.#open.set(near, path)
        far.write(first)
        near.pipe(far)
        far.pipe(near)
      })
    })
  }

  static async listen(engine: string): Promise<Middleman> {
    const made = new Middleman(engine)
    made.#server.listen(made.socket)
    await once(made.#server, 'listening')
    return made
  }

  /** Connections that are open for this path. */
  open(path: string): number {
    return [...this.#open.values()].filter((one) => one === path).length
  }

  /** Cuts the connections for this path. Returns how many there were. */
  cut(path: string): number {
    const found = [...this.#open].filter(([, one]) => one === path)
    for (const [socket] of found) socket.destroy()
    return found.length
  }

  async close(): Promise<void> {
    for (const socket of this.#open.keys()) socket.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
    rmSync(this.#dir, { recursive: true, force: true })
  }
}
