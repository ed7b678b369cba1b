import http, { type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Readable } from 'node:stream'
import type { CoppiceError, Progress } from '@coppice/protocol/wire'
import type { Dialect } from '../dialect.ts'
import { beginning } from './body.ts'
import { BulkAnswer } from './bulk-answer.ts'
import { answerFault, connectionFault, silent } from './faults.ts'
import { type RequestBody, sendBody, stalled } from './upload.ts'

export interface EngineRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE'
  /** With the version in front, without the query. */
  path: string
  /** Undefined members are left out. */
  query?: Record<string, string | undefined>
  /** A list is one header for each of its members. */
  headers?: Record<string, string | string[]>
  json?: unknown
  body?: RequestBody
  /** Milliseconds from the last byte sent to the first of the answer. 0: no bound, for calls that answer when work is done. */
  timeoutMs?: number
  /** Statuses that are answers beside 2xx. */
  accept?: number[]
}

export interface EngineAnswer {
  status: number
  headers: IncomingMessage['headers']
  /** Read it to its end, or destroy it: that hangs up, and the engine stops what it does. */
  body: IncomingMessage
}

/** Milliseconds that an engine may think about one call. `docker run` on a busy machine takes seconds. */
export const CALL_TIMEOUT_MS = 60_000

/** Bytes of an error's body that are read. */
const MAX_ERROR_BYTES = 64 * 1024

/** Milliseconds for an error's body, which engines send with its head. */
const ERROR_BODY_MS = 2000

/**
 * HTTP over an engine's unix socket. A connection for each call: it costs 0.1 ms there, and a call never meets a connection that
 * an engine closed as it ended.
 */
export class Transport {
  readonly socket: string
  readonly dialect: Dialect

  constructor(socket: string, dialect: Dialect) {
    this.socket = socket
    this.dialect = dialect
  }

  /**
   * One call. Resolves with the answer's head; throws the engine's refusal, `unavailable/engine_gone`,
   * `unavailable/engine_silent`, or the progress's end, which hangs up.
   */
  async send(request: EngineRequest, progress: Progress): Promise<EngineAnswer> {
    progress.throwIfEnded()
    const timeoutMs = request.timeoutMs ?? CALL_TIMEOUT_MS
    const outgoing = http.request({
      socketPath: this.socket,
      method: request.method,
      path: request.path + queryOf(request.query),
      headers: { host: 'engine', ...headersOf(request), ...request.headers },
      agent: false,
    })
    const hangUp = (): void => void outgoing.destroy()
    progress.signal.addEventListener('abort', hangUp, { once: true })
    let timer: NodeJS.Timeout | undefined
    try {
      const answered = new Promise<IncomingMessage>((resolve, reject) => {
        outgoing.once('response', resolve)
        outgoing.once('error', reject)
        outgoing.once('close', () => reject(Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })))
        outgoing.once('finish', () => {
          const over = () => (request.body ? stalled(timeoutMs) : silent(this.socket, this.dialect, timeoutMs))
          if (timeoutMs > 0) timer = setTimeout(() => outgoing.destroy(over()), timeoutMs)
        })
      })
      const sent = sendBody(outgoing, request, answered)
      const body = await Promise.race([answered, sent.then(() => answered)])
      // Anything that goes wrong from here on comes out of the body that is being read.
      outgoing.on('error', () => {})
      return await this.#checked(request, body)
    } catch (cause) {
      outgoing.on('error', () => {})
      outgoing.destroy()
      progress.throwIfEnded()
      throw connectionFault(cause, this.socket, this.dialect)
    } finally {
      clearTimeout(timer)
      progress.signal.removeEventListener('abort', hangUp)
    }
  }

  /**
   * Asks for another protocol on the call's connection, which is the caller's from then on; what the engine has sent already is
   * in it. Throws what `send` does, also for an answer that is a success and no change of protocol.
   */
  async upgrade(request: EngineRequest, protocol: string, progress: Progress): Promise<Socket> {
    progress.throwIfEnded()
    const timeoutMs = request.timeoutMs ?? CALL_TIMEOUT_MS
    const outgoing = http.request({
      socketPath: this.socket,
      method: request.method,
      path: request.path + queryOf(request.query),
      headers: { host: 'engine', connection: 'Upgrade', upgrade: protocol, ...request.headers },
      agent: false,
    })
    const hangUp = (): void => void outgoing.destroy()
    progress.signal.addEventListener('abort', hangUp, { once: true })
    const timer = setTimeout(() => outgoing.destroy(silent(this.socket, this.dialect, timeoutMs)), timeoutMs)
    try {
      const answered = new Promise<{ socket: Socket } | { body: IncomingMessage }>((resolve, reject) => {
        outgoing.once('upgrade', (_answer, socket: Socket, head) => {
          if (head.length > 0) socket.unshift(head)
          resolve({ socket })
        })
        outgoing.once('response', (body) => resolve({ body }))
        outgoing.once('error', reject)
        outgoing.once('close', () => reject(Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' })))
      })
      outgoing.end()
      const answer = await answered
      outgoing.on('error', () => {})
      if ('body' in answer) throw notUpgraded(await this.#checked(request, answer.body), request, this.dialect)
      const { socket } = answer
      if (progress.signal.aborted) socket.destroy()
      progress.throwIfEnded()
      return socket
    } catch (cause) {
      outgoing.on('error', () => {})
      outgoing.destroy()
      progress.throwIfEnded()
      throw connectionFault(cause, this.socket, this.dialect)
    } finally {
      clearTimeout(timer)
      progress.signal.removeEventListener('abort', hangUp)
    }
  }

  /**
   * A GET that answers with gigabytes, cut when the progress ends. **A chunk is the caller's until it asks for the next.**
   * Throws what `send` and `read` do.
   */
  async *download(request: Pick<EngineRequest, 'path' | 'query'>, progress: Progress): AsyncGenerator<Buffer> {
    progress.throwIfEnded()
    const answer = new BulkAnswer(this.socket, request.path + queryOf(request.query))
    const hangUp = (): void => answer.destroy()
    progress.signal.addEventListener('abort', hangUp, { once: true })
    try {
      if (await answer.isPlain()) {
        yield* answer.chunks()
        progress.throwIfEnded()
        return
      }
    } catch (cause) {
      progress.throwIfEnded()
      throw connectionFault(cause, this.socket, this.dialect)
    } finally {
      progress.signal.removeEventListener('abort', hangUp)
      answer.destroy()
    }
    // A refusal most likely, which is said again.
    const { body } = await this.send({ method: 'GET', ...request, timeoutMs: 0 }, progress)
    yield* this.read(body, progress)
  }

  /** A stream of an answer, cut when the progress ends. Errors of the connection come out as `unavailable/engine_gone`. */
  async *read(body: Readable, progress: Progress): AsyncGenerator<Buffer> {
    const hangUp = (): void => void body.destroy()
    progress.signal.addEventListener('abort', hangUp, { once: true })
    try {
      for await (const chunk of body) yield chunk as Buffer
      progress.throwIfEnded()
    } catch (cause) {
      progress.throwIfEnded()
      throw connectionFault(cause, this.socket, this.dialect)
    } finally {
      progress.signal.removeEventListener('abort', hangUp)
      body.destroy()
    }
  }

  async #checked(request: EngineRequest, body: IncomingMessage): Promise<EngineAnswer> {
    const status = body.statusCode ?? 0
    if ((status >= 200 && status < 300) || request.accept?.includes(status))
      return { status, headers: body.headers, body }
    const text = await beginning(body, MAX_ERROR_BYTES, ERROR_BODY_MS)
    throw answerFault(status, text, `${request.method} ${request.path}`, this.dialect)
  }
}

function notUpgraded({ status, body }: EngineAnswer, { method, path }: EngineRequest, dialect: Dialect): CoppiceError {
  body.destroy()
  return answerFault(status, 'it goes on with HTTP', `${method} ${path}`, dialect)
}

function queryOf(query: EngineRequest['query']): string {
  const pairs = Object.entries(query ?? {}).filter((pair): pair is [string, string] => pair[1] !== undefined)
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs)}`
}

function headersOf(request: EngineRequest): Record<string, string> {
  if (request.json !== undefined) return { 'content-type': 'application/json' }
  if (!request.body) return {}
  const { sizeBytes } = request.body
  // Without a length Node sends it in chunks.
  return {
    'content-type': 'application/x-tar',
    ...(sizeBytes === undefined ? {} : { 'content-length': String(sizeBytes) }),
  }
}
