import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { CoppiceError, type Progress } from '@coppice/protocol'
import { greet } from './greet.ts'
import { Link } from './link.ts'
import { Waiters } from './waiters.ts'

/** Connections of one sandbox that have not said hello yet. One more ends the oldest: the real supervisor speaks at once. */
const MAX_UNPROVEN = 8

/** Milliseconds for which a call is told why its sandbox went, and not only that it is not there. */
const RELEASED_MS = 10_000

export interface HubOptions {
  /** Folder that holds one socket folder per sandbox. */
  runDir: string
  leaseMs: number
  /** Called when a sandbox's link broke and no newer one had replaced it. */
  onLost: (sandboxId: string) => void
  /** Called with every new link. */
  onLink?: (sandboxId: string, link: Link) => void
  /** Called when a sandbox is expected no more. */
  onReleased?: (sandboxId: string) => void
}

interface Entry {
  token: Buffer
  server: Server
  link: Link | undefined
  unproven: Set<Socket>
  /** Calls that wait for the next link. */
  waiters: Waiters<Link>
}

/**
 * Holds the newest link of every sandbox. One unix socket per sandbox, so that a flood of connections from one is the
 * trouble of that one alone. A newer link supersedes the older at once.
 */
export class SessionHub {
  readonly #options: HubOptions
  readonly #entries = new Map<string, Entry>()
  /** Why sandboxes are not expected any more that were a moment ago. */
  readonly #released = new Map<string, CoppiceError>()

  constructor(options: HubOptions) {
    this.#options = options
  }

  /** The socket folder of a sandbox, to be mounted into it. */
  runDir(sandboxId: string): string {
    return join(this.#options.runDir, sandboxId)
  }

  /** Starts to expect a sandbox. Expecting it again with another token (a restart) replaces the token. */
  async expect(sandboxId: string, token: string): Promise<void> {
    const known = this.#entries.get(sandboxId)
    if (known) {
      known.token = Buffer.from(token)
      return
    }
    const folder = this.runDir(sandboxId)
    const path = join(folder, 'gw.sock')
    mkdirSync(folder, { recursive: true, mode: 0o755 })
    rmSync(path, { force: true })
    const server = createServer((socket) => {
      this.#accept(sandboxId, socket).catch(() => socket.destroy())
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(path, resolve)
    })
    // Tried: 0755 is EACCES from a user namespace. The token decides who may speak, not the mode.
    chmodSync(path, 0o666)
    server.on('error', () => {})
    this.#released.delete(sandboxId)
    this.#entries.set(sandboxId, {
      token: Buffer.from(token),
      server,
      link: undefined,
      unproven: new Set(),
      waiters: new Waiters(),
    })
  }

  /** True while a session is up. */
  connected(sandboxId: string): boolean {
    return this.#entries.get(sandboxId)?.link?.alive ?? false
  }

  get connectedCount(): number {
    let count = 0
    for (const entry of this.#entries.values()) if (entry.link?.alive) count += 1
    return count
  }

  /** The link of a sandbox if one is up now. */
  current(sandboxId: string): Link | undefined {
    const link = this.#entries.get(sandboxId)?.link
    return link?.alive ? link : undefined
  }

  /**
   * The link of a sandbox, waiting for the next one as long as `progress` allows.
   * @throws what `release` was given when the sandbox ends meanwhile, `unavailable/session_lost` when the bound passes.
   */
  async link(sandboxId: string, boundMs: number, progress: Progress): Promise<Link> {
    const entry = this.#entries.get(sandboxId)
    if (!entry) {
      throw (
        this.#released.get(sandboxId) ??
        new CoppiceError('failed_precondition', 'not_running', `Sandbox ${sandboxId} is not running.`)
      )
    }
    if (entry.link?.alive) return entry.link
    progress.throwIfEnded()
    return entry.waiters.wait(boundMs, progress.signal, () => sessionLost(sandboxId, boundMs))
  }

  /** Stops expecting a sandbox. Calls that wait fail with `reason` at once. */
  release(sandboxId: string, reason: CoppiceError): void {
    const entry = this.#entries.get(sandboxId)
    this.#entries.delete(sandboxId)
    if (entry) {
      this.#released.set(sandboxId, reason)
      entry.waiters.reject(reason)
      entry.server.close()
      for (const socket of entry.unproven) socket.destroy()
      entry.link?.cut()
      // Long enough for the calls that were on the link just cut to come and ask.
      setTimeout(() => this.#released.delete(sandboxId), RELEASED_MS).unref()
    }
    rmSync(this.runDir(sandboxId), { recursive: true, force: true })
    this.#options.onReleased?.(sandboxId)
  }

  /** Ends every link and listener. The socket folders stay: the next gateway listens there again. */
  close(): void {
    for (const [id, entry] of this.#entries) {
      entry.waiters.reject(new CoppiceError('unavailable', 'gateway_stopping', 'The gateway is stopping.'))
      entry.server.close()
      for (const socket of entry.unproven) socket.destroy()
      entry.link?.cut()
      this.#entries.delete(id)
    }
  }

  async #accept(sandboxId: string, socket: Socket): Promise<void> {
    socket.on('error', () => {})
    const entry = this.#entries.get(sandboxId)
    if (!entry) {
      socket.destroy()
      return
    }
    const [oldest] = entry.unproven
    if (oldest && entry.unproven.size >= MAX_UNPROVEN) oldest.destroy()
    entry.unproven.add(socket)
    try {
      const hello = await greet(socket, sandboxId, entry.token, this.#options.leaseMs)
      if (!hello) return
      const link = await Link.open(socket, hello.bootId, this.#options.leaseMs)
      this.#install(sandboxId, entry, link)
    } finally {
      entry.unproven.delete(socket)
    }
  }

  #install(sandboxId: string, entry: Entry, link: Link): void {
    if (this.#entries.get(sandboxId) !== entry) {
      link.cut()
      return
    }
    const older = entry.link
    entry.link = link
    older?.cut()
    this.#options.onLink?.(sandboxId, link)
    entry.waiters.resolve(link)
    void link.closed.then(() => {
      if (entry.link !== link) return
      entry.link = undefined
      if (this.#entries.get(sandboxId) === entry) this.#options.onLost(sandboxId)
    })
  }
}

function sessionLost(sandboxId: string, boundMs: number): CoppiceError {
  return new CoppiceError(
    'unavailable',
    'session_lost',
    `The session of sandbox ${sandboxId} was lost and did not come back within ${boundMs} ms.`,
    { facts: { sandboxId, boundMs }, hint: `coppice logs ${sandboxId}` },
  )
}
