import { CoppiceError } from '@coppice/protocol'
import { LinkBroken, Upstream } from '../relay/upstream.ts'
import type { Link } from '../session/link.ts'
import { PortStream } from './port-stream.ts'

/** Milliseconds that the supervisor has to connect to a port of its own loopback. */
const CONNECT_MS = 10_000

/** Connections into one sandbox at one time, tunnels and previews together. */
export const MAX_INBOUND_CONNECTIONS = 512

/** Tries when sessions break one after the other while a connection is made. */
const MAX_TRIES = 5

export interface PortDialerOptions {
  /**
   * The sandbox's session, or the next one.
   * @throws `failed_precondition/not_running`, `unavailable/session_lost`, …
   */
  link: (sandboxId: string, signal: AbortSignal) => Promise<Link>
  /** Connections into one sandbox at one time. Default 512. */
  maxConnections?: number | undefined
}

/** Connects to ports of sandboxes, through their sessions. */
export class PortDialer {
  readonly #options: PortDialerOptions
  readonly #open = new Map<string, number>()

  constructor(options: PortDialerOptions) {
    this.#options = options
  }

  /**
   * A new connection. One whose session breaks before it is made is made on the next one: nothing was sent on it yet.
   * @throws `failed_precondition/port_not_listening`, `resource_exhausted/too_many_connections`, and what `link` throws
   */
  async dial(sandboxId: string, port: number, signal: AbortSignal): Promise<PortStream> {
    const release = this.#take(sandboxId)
    try {
      const stream = await this.#dial(sandboxId, port, signal)
      stream.once('close', release)
      return stream
    } catch (error) {
      release()
      throw error
    }
  }

  async #dial(sandboxId: string, port: number, signal: AbortSignal): Promise<PortStream> {
    for (let tries = 1; ; tries += 1) {
      const link = await this.#options.link(sandboxId, signal)
      let upstream: Upstream | undefined
      const cancel = () => upstream?.cancel()
      signal.addEventListener('abort', cancel)
      try {
        upstream = new Upstream(link, { ':method': 'POST', ':path': `/ports/${port}` }, false)
        const answer = await upstream.answer(CONNECT_MS)
        if (answer[':status'] !== 200) throw refused(await upstream.error(), sandboxId, port)
        return new PortStream(upstream.stream)
      } catch (error) {
        upstream?.cancel()
        signal.throwIfAborted()
        if (!(error instanceof LinkBroken)) throw error
        if (link.alive || tries >= MAX_TRIES) throw broken(sandboxId, port)
      } finally {
        signal.removeEventListener('abort', cancel)
      }
    }
  }

  #take(sandboxId: string): () => void {
    const max = this.#options.maxConnections ?? MAX_INBOUND_CONNECTIONS
    const open = this.#open.get(sandboxId) ?? 0
    if (open >= max) {
      throw new CoppiceError(
        'resource_exhausted',
        'too_many_connections',
        `There are ${max} connections into sandbox ${sandboxId} already.`,
        { facts: { sandboxId, max }, retryable: true, hint: 'Close some, or use fewer at one time.' },
      )
    }
    this.#open.set(sandboxId, open + 1)
    let released = false
    return () => {
      if (released) return
      released = true
      const left = (this.#open.get(sandboxId) ?? 1) - 1
      if (left > 0) this.#open.set(sandboxId, left)
      else this.#open.delete(sandboxId)
    }
  }
}

/** What the supervisor said, in words that are the gateway's own: they are shown to people. */
function refused(error: CoppiceError, sandboxId: string, port: number): CoppiceError {
  const facts = { sandboxId, port }
  if (error.reason === 'port_not_listening') {
    return new CoppiceError(
      'failed_precondition',
      'port_not_listening',
      `Nothing listens on port ${port} in sandbox ${sandboxId}.`,
      { facts, retryable: true, hint: `coppice inspect ${sandboxId}   (what listens inside)` },
    )
  }
  if (error.reason === 'no_such_route' || error.code === 'unsupported') {
    return new CoppiceError(
      'unsupported',
      'supervisor_too_old',
      `The supervisor of sandbox ${sandboxId} is older than this gateway and cannot reach ports.`,
      { facts, hint: `coppice stop ${sandboxId} && coppice start ${sandboxId}` },
    )
  }
  return error
}

function broken(sandboxId: string, port: number): CoppiceError {
  const message = `The connection to port ${port} of sandbox ${sandboxId} broke before it was made.`
  return new CoppiceError('unavailable', 'stream_broken', message, {
    facts: { sandboxId, port },
    hint: `coppice logs ${sandboxId}`,
  })
}
