import { performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { CONNECTION_WINDOW_BYTES, HTTP2_OPTIONS, type SessionHello } from '@coppice/protocol/wire'
import { Backoff } from './backoff.ts'
import { dial } from './dial.ts'
import { watchLiveness } from './liveness.ts'
import type { Router } from './router.ts'

export interface SessionsOptions {
  readonly socketPath: string
  readonly hello: SessionHello
  readonly router: Router
  readonly log: (message: string) => void
}

/** Keeps one session with the gateway for as long as the supervisor lives: dials, serves, dials again. */
export class Sessions {
  readonly #options: SessionsOptions
  readonly #end = new AbortController()
  readonly #streams = new Set<ServerHttp2Stream>()
  #current: { session: ServerHttp2Session; socket: Socket } | undefined
  readonly #done: Promise<void>

  constructor(options: SessionsOptions) {
    this.#options = options
    this.#done = this.#run()
  }

  get openStreams(): number {
    return this.#streams.size
  }

  /** Lets open streams end for at most `graceMs`, then hangs up for good. */
  async close(graceMs: number): Promise<void> {
    this.#end.abort()
    const { session, socket } = this.#current ?? {}
    session?.close()
    const timer = setTimeout(() => socket?.destroy(), graceMs)
    await this.#done
    clearTimeout(timer)
  }

  async #run(): Promise<void> {
    const backoff = new Backoff()
    const { signal } = this.#end
    let lastFailure = ''
    while (!signal.aborted) {
      try {
        const { socket, leaseMs } = await dial(this.#options.socketPath, this.#options.hello, signal)
        const since = performance.now()
        this.#options.log('session up')
        lastFailure = ''
        await this.#serve(socket, leaseMs)
        const livedMs = performance.now() - since
        backoff.sessionEnded(livedMs)
        this.#options.log(`session over after ${Math.round(livedMs)} ms`)
      } catch (error) {
        const failure = (error as Error).message
        if (failure !== lastFailure && !signal.aborted) this.#options.log(`no session: ${failure}`)
        lastFailure = failure
      }
      await sleep(backoff.next(), undefined, { signal }).catch(() => {})
    }
  }

  /** Resolves when the session is over. */
  #serve(socket: Socket, leaseMs: number): Promise<void> {
    const session = performServerHandshake(socket, HTTP2_OPTIONS)
    this.#current = { session, socket }
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
    watchLiveness(session, socket, leaseMs)
    const sessionLost = () => socket.destroyed || session.destroyed || session.closed
    session.on('stream', (stream, headers) => {
      this.#streams.add(stream)
      stream.once('close', () => this.#streams.delete(stream))
      this.#options.router.handle(stream, headers, sessionLost)
    })
    // What broke it is told by the close that follows.
    session.on('error', () => {})
    socket.on('error', () => {})
    return new Promise((resolve) => {
      session.once('close', () => {
        socket.destroy()
        this.#current = undefined
        resolve()
      })
    })
  }
}
