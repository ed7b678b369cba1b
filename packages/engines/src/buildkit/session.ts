import { randomBytes } from 'node:crypto'
import { performServerHandshake, type ServerHttp2Session } from 'node:http2'
import type { Socket } from 'node:net'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { Calls } from '../api/calls.ts'
import type { BuildOptions } from '../builds/options.ts'
import { GRPC_SERVER_OPTIONS, type GrpcConversation, type GrpcMethod, serveGrpc } from './grpc-server.ts'
import { sessionServices } from './session-services.ts'

/** The connection over which a build's engine asks back. The engine is its client, by gRPC; it lives as long as the build. */
export class BuildSession {
  /** What the build names it by. */
  readonly id: string
  /** Aborted with `unavailable/build_session_lost` when the connection ends before `close`. */
  readonly lost: AbortSignal
  readonly #socket: Socket
  readonly #session: ServerHttp2Session
  #closed = false

  private constructor(
    id: string,
    socket: Socket,
    services: Record<string, GrpcMethod>,
    conversations: Record<string, GrpcConversation>,
    engine: string,
  ) {
    this.id = id
    this.#socket = socket
    const lost = new AbortController()
    this.lost = lost.signal
    // What broke it is told by the close that follows.
    socket.on('error', () => {})
    this.#session = performServerHandshake(socket, GRPC_SERVER_OPTIONS)
    this.#session.on('error', () => {})
    this.#session.once('close', () => {
      socket.destroy()
      if (!this.#closed) lost.abort(sessionLost(engine))
    })
    serveGrpc(this.#session, services, conversations)
  }

  /**
   * @param conversations what is served besides logins and secrets
   * @throws the engine's refusal, when it has no such thing or may not be asked for it
   */
  static async open(
    calls: Calls,
    { findLogin, secrets }: Pick<BuildOptions, 'findLogin' | 'secrets'>,
    conversations: Record<string, GrpcConversation>,
    progress: Progress,
  ): Promise<BuildSession> {
    const services = sessionServices(findLogin, secrets)
    const id = randomBytes(16).toString('hex')
    const headers = {
      'x-docker-expose-session-uuid': id,
      'x-docker-expose-session-name': 'coppice',
      // Files that a build with the same key has sent count as sent: nothing is to be known of them here.
      'x-docker-expose-session-sharedkey': id,
      'x-docker-expose-session-grpc-method': Object.keys({ ...services, ...conversations }),
    }
    const socket = await calls.upgrade({ method: 'POST', path: '/session', headers }, 'h2c', progress)
    return new BuildSession(id, socket, services, conversations, calls.transport.dialect.title)
  }

  close(): void {
    this.#closed = true
    this.#session.destroy()
    this.#socket.destroy()
  }
}

function sessionLost(engine: string): CoppiceError {
  return new CoppiceError(
    'unavailable',
    'build_session_lost',
    `The connection by which ${engine} asks back during a build was cut.`,
    { retryable: true, hint: 'build again: steps that were done are cached' },
  )
}
