import { chmodSync, renameSync, rmSync } from 'node:fs'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'

interface Pair {
  inside: Socket
  gateway: Socket
  /** Nothing passes any more, and neither side is told. */
  holed: boolean
}

/**
 * Stands between a sandbox's supervisor and its gateway and breaks the link for real: cuts it, or lets nothing through any
 * more without telling either side. It takes the place of the socket in the sandbox's socket folder; the gateway's own
 * listener stays reachable under another name.
 */
export class LinkProxy {
  readonly #server: Server
  readonly #pairs = new Set<Pair>()
  readonly #folder: string
  #holed = false
  #cutAfter: number | undefined
  #cutAfterInward: number | undefined
  /** Sessions that were opened through it so far. */
  opened = 0
  /** Bytes from the sandbox to the gateway so far. */
  outward = 0

  private constructor(folder: string, server: Server) {
    this.#folder = folder
    this.#server = server
  }

  /** The link that is up now is not touched: the next one comes through here. */
  static async interpose(folder: string): Promise<LinkProxy> {
    const path = join(folder, 'gw.sock')
    renameSync(path, join(folder, 'behind.sock'))
    const server = createServer()
    const proxy = new LinkProxy(folder, server)
    server.on('connection', (socket) => proxy.#accept(socket))
    await new Promise<void>((resolve) => server.listen(path, resolve))
    chmodSync(path, 0o666)
    return proxy
  }

  /** Breaks every link at once, whatever is on its way. */
  cut(): void {
    for (const { inside, gateway } of this.#pairs) {
      inside.destroy()
      gateway.destroy()
    }
  }

  /** Breaks the link when this many more bytes have come out of the sandbox, in the middle of whatever that is. */
  cutAfter(bytes: number): void {
    this.#cutAfter = bytes
  }

  /** The same for bytes that go into the sandbox. */
  cutAfterInward(bytes: number): void {
    this.#cutAfterInward = bytes
  }

  /** From now on nothing passes, in links that are up and in new ones, and nobody is told. */
  blackHole(): void {
    this.#holed = true
    for (const pair of this.#pairs) hole(pair)
  }

  /** New links work again. Those that were black-holed stay dead: their bytes are lost. */
  openAgain(): void {
    this.#holed = false
  }

  get links(): number {
    return this.#pairs.size
  }

  /** Gives the gateway its socket back. */
  dispose(): void {
    this.#server.close()
    this.cut()
    const path = join(this.#folder, 'gw.sock')
    rmSync(path, { force: true })
    try {
      renameSync(join(this.#folder, 'behind.sock'), path)
    } catch {
      // The sandbox is gone, and its folder with it.
    }
  }

  #accept(inside: Socket): void {
    const gateway = connect(join(this.#folder, 'behind.sock'))
    const pair: Pair = { inside, gateway, holed: false }
    this.#pairs.add(pair)
    this.opened += 1
    const end = () => {
      this.#pairs.delete(pair)
      inside.destroy()
      gateway.destroy()
    }
    inside.on('close', end).on('error', end)
    gateway.on('close', end).on('error', end)
    if (this.#holed) {
      hole(pair)
      return
    }
    gateway.on('data', (chunk) => this.#inward(pair, chunk))
    inside.on('drain', () => pair.holed || gateway.resume())
    gateway.on('drain', () => pair.holed || inside.resume())
    inside.on('data', (chunk) => this.#outward(pair, chunk))
  }

  #inward(pair: Pair, chunk: Buffer): void {
    this.#cutAfterInward = this.#pass(pair.gateway, pair.inside, chunk, this.#cutAfterInward)
  }

  #outward(pair: Pair, chunk: Buffer): void {
    this.outward += chunk.length
    this.#cutAfter = this.#pass(pair.inside, pair.gateway, chunk, this.#cutAfter)
  }

  /** @returns bytes left until the cut, undefined when none is wanted any more */
  #pass(from: Socket, to: Socket, chunk: Buffer, cutAfter: number | undefined): number | undefined {
    if (cutAfter !== undefined && chunk.length >= cutAfter) {
      // What comes before the break still arrives, and nothing at all after it: a link loses its tail, never its middle.
      from.removeAllListeners('data').pause()
      to.write(chunk.subarray(0, cutAfter), () => this.cut())
      return undefined
    }
    if (!to.write(chunk)) from.pause()
    return cutAfter === undefined ? undefined : cutAfter - chunk.length
  }
}

function hole(pair: Pair): void {
  pair.holed = true
  pair.inside.pause()
  pair.gateway.pause()
}
