import type { Agent, ClientRequest, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { CoppiceError, DEFAULT_BOUND_MS } from '@coppice/protocol/wire'
import { abortError, throwIfAborted } from './cancellation.ts'
import { type DiscoveryOptions, defaultHome, findGateway, type GatewayAddress, gatewayNotRunning } from './discovery.ts'
import { httpModule, readError, readWhole } from './http.ts'
import { connectionError, isLinkFailure, linkSilent, neverSent } from './link-failure.ts'
import { RetryWindow } from './retry-window.ts'

export interface ConnectionOptions extends DiscoveryOptions {
  /** Milliseconds that a call goes on trying without success, and waits for an answer. Default 30 s. */
  boundMs?: number | undefined
  /** Milliseconds without a frame after which a stream is cut and opened again. Default 15 s; heartbeats come every 5 s. */
  stallMs?: number | undefined
}

/** One HTTP request. */
export interface GatewayRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** With query, percent-encoded. */
  path: string
  headers?: Record<string, string | number>
  /** Sent as JSON. */
  json?: unknown
  signal?: AbortSignal | undefined
  /** Makes a connection for this request alone, which keeps what becomes of it: for upgrades. */
  connect?: (options: { host: string; port: number; protocol: string }) => Socket
  /** Milliseconds to wait for the answer to start. 0: for ever. Default: the bound and 5 s, so that the gateway's own answer wins. */
  answerMs?: number
}

/** Longest JSON answer that is read, bytes. */
const MAX_JSON_BYTES = 64 * 1024 * 1024
/** How much longer than the bound an answer is waited for: the gateway waits as long for a session, and then says why, ms. */
export const ANSWER_SLACK_MS = 5_000

/**
 * HTTP to one gateway over kept-alive connections. It finds the gateway when it is first needed, and again after each
 * failure of the link, because a gateway that was started again may listen elsewhere.
 */
export class GatewayConnection {
  readonly boundMs: number
  readonly stallMs: number
  readonly #options: ConnectionOptions
  #address: GatewayAddress | undefined
  #agent: Agent | undefined
  #protocol: string | undefined
  #everReached = false

  constructor(options: ConnectionOptions = {}) {
    this.#options = options
    this.boundMs = options.boundMs ?? DEFAULT_BOUND_MS
    this.stallMs = options.stallMs ?? 15_000
  }

  /**
   * True for the failure to reach a gateway that never answered anything: a mistake to be told at once. One that did answer may be
   * on its way back.
   */
  neverThere(error: CoppiceError): boolean {
    return !this.#everReached && neverSent(error)
  }

  /** @throws what `findGateway` throws. */
  address(): GatewayAddress {
    this.#address ??= findGateway(this.#options)
    return this.#address
  }

  /** Starts a request. The caller writes and ends its body, unless it is `json`. */
  open(request: GatewayRequest): ClientRequest {
    throwIfAborted(request.signal)
    const { url, token } = this.address()
    const target = new URL(url)
    const http = httpModule(target.protocol)
    if (this.#protocol !== target.protocol) {
      this.close()
      this.#agent = new http.Agent({ keepAlive: true, scheduling: 'lifo' })
      this.#protocol = target.protocol
    }
    const body = request.json === undefined ? undefined : Buffer.from(JSON.stringify(request.json))
    const headers: Record<string, string | number> = { authorization: `Bearer ${token}`, ...request.headers }
    if (body) {
      headers['content-type'] = 'application/json'
      headers['content-length'] = body.length
    }
    const host = target.hostname.replace(/^\[|\]$/g, '')
    const port = Number(target.port) || (target.protocol === 'https:' ? 443 : 80)
    const { connect } = request
    const createConnection = connect && (() => connect({ host, port, protocol: target.protocol }))
    const open = http.request({
      ...(createConnection ? { createConnection } : this.#agent && { agent: this.#agent }),
      host,
      port,
      method: request.method,
      path: request.path,
      headers,
      signal: request.signal,
    })
    if (body) open.end(body)
    return open
  }

  /** The answer to a request that `open` made. @throws a typed error for a status of 400 and more, or a link failure. */
  answer(open: ClientRequest, request: GatewayRequest): Promise<IncomingMessage> {
    const answerMs = request.answerMs ?? this.boundMs + ANSWER_SLACK_MS
    return new Promise<IncomingMessage>((resolve, reject) => {
      const timer = answerMs > 0 ? setTimeout(() => open.destroy(linkSilent(answerMs)), answerMs) : undefined
      open.once('error', (error) => {
        clearTimeout(timer)
        reject(this.#failure(error, request.signal))
      })
      // It became a connection: there will be no answer.
      open.once('upgrade', () => {
        clearTimeout(timer)
        this.#everReached = true
      })
      // Later errors of the same request are the response's business; without a listener they would end the process.
      open.on('error', () => {})
      open.once('response', (response) => {
        clearTimeout(timer)
        this.#everReached = true
        if ((response.statusCode ?? 500) < 400) resolve(response)
        else readError(response).then(reject, reject)
      })
    })
  }

  /** One try: request and answer. */
  async send(request: GatewayRequest): Promise<IncomingMessage> {
    const open = this.open(request)
    if (request.json === undefined) open.end()
    return this.answer(open, request)
  }

  /**
   * A call that answers with JSON (or nothing). A broken link is tried again within the bound: a `repeatable` call always,
   * another only when it cannot have reached the gateway.
   */
  async json<T>(request: GatewayRequest, repeatable: boolean): Promise<T> {
    return this.retrying(request.signal, repeatable, () => this.jsonOnce<T>(request))
  }

  /** The same, tried once. @throws `internal/malformed_answer`: what comes from inside a sandbox need not be JSON. */
  async jsonOnce<T>(request: GatewayRequest): Promise<T> {
    const response = await this.send(request)
    const text = (await readWhole(response, MAX_JSON_BYTES)).toString('utf8')
    if (response.statusCode === 204) return undefined as T
    try {
      return JSON.parse(text) as T
    } catch (cause) {
      throw new CoppiceError('internal', 'malformed_answer', 'The answer is no JSON.', { cause })
    }
  }

  /** Repeats `attempt` while the link fails, within the bound. */
  async retrying<T>(signal: AbortSignal | undefined, repeatable: boolean, attempt: () => Promise<T>): Promise<T> {
    const window = new RetryWindow(this.boundMs, signal)
    for (;;) {
      try {
        return await attempt()
      } catch (error) {
        if (!isLinkFailure(error) || this.neverThere(error) || !(repeatable || neverSent(error))) throw error
        await window.next(error)
        this.rediscover()
      }
    }
  }

  /** Forgets where the gateway was. */
  rediscover(): void {
    this.#address = undefined
  }

  /** Ends idle and open connections. */
  close(): void {
    this.#agent?.destroy()
    this.#agent = undefined
    this.#protocol = undefined
  }

  #failure(error: Error, signal: AbortSignal | undefined): CoppiceError {
    if (error instanceof CoppiceError) return error
    if (signal?.aborted) return abortError(signal)
    const { url, pid } = this.#address ?? { url: '', pid: undefined }
    const failure = connectionError(error, url)
    // A local gateway whose port refuses is not running: its file was left behind by a crash.
    if (pid !== undefined && failure.reason === 'connection_failed') {
      this.rediscover()
      return gatewayNotRunning(this.#options.home ?? defaultHome(), error)
    }
    return failure
  }
}
