import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, type RequestOptions as HttpsOptions, request as httpsRequest } from 'node:https'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { throwAway } from '../bulk/garbage.ts'
import { secureContext } from './authorities.ts'
import type { HostCertificates } from './certificates.ts'
import { connectionFault, Transient } from './faults.ts'

/** Redirects of one request. */
const MAX_REDIRECTS = 5

/** What a request sends. The chunks of a stream are good until the next one is asked for. */
export interface RequestBody {
  length: number
  chunks: AsyncIterable<Buffer> | Iterable<Buffer>
}

export interface RequestOptions {
  method: string
  headers?: Record<string, string>
  body?: RequestBody
  /** Follow redirects: for requests without a body. */
  follow?: boolean
}

/** An answer whose body has not been read. Read it, or `response.destroy()` it. */
export interface Answer {
  status: number
  headers: IncomingMessage['headers']
  response: IncomingMessage
  /** Where the answer came from, after redirects. */
  url: URL
}

export interface ConnectionOptions {
  /** Host of the registry, as references have it. */
  registry: string
  /** Plain HTTP and unknown certificates are accepted. */
  insecure: boolean
  /** Plain HTTP is accepted. */
  plain: boolean
  certificates: HostCertificates | undefined
  /** Proxies that the environment names are used, as everywhere else. */
  proxied: boolean
  /** Milliseconds without a byte. */
  stallMs: number
  parallel: number
}

/** HTTP requests to one registry and to wherever it sends us, over connections that are kept. */
export class Connection {
  readonly #http: HttpAgent
  readonly #makeHttps: () => HttpsAgent
  readonly #stallMs: number
  readonly #plain: boolean
  readonly #registry: string
  #https: HttpsAgent | undefined

  constructor(options: ConnectionOptions) {
    const { insecure, plain, certificates, parallel, stallMs } = options
    const proxy = options.proxied ? { proxyEnv: process.env } : {}
    const agent = { keepAlive: true, maxSockets: parallel + 1, ...proxy }
    this.#http = new HttpAgent(agent)
    this.#makeHttps = () =>
      new HttpsAgent({
        ...agent,
        rejectUnauthorized: !insecure,
        secureContext: secureContext(certificates, !insecure),
      })
    this.#stallMs = stallMs
    this.#registry = options.registry
    this.#plain = plain || insecure
  }

  close(): void {
    this.#http.destroy()
    this.#https?.destroy()
  }

  /**
   * Sends a request and returns its answer, whatever its status. Throws `Transient` for connections that were cut or stood
   * still, `unavailable/registry_unreachable`, `failed_precondition/registry_certificate`, `registry_redirect`.
   */
  async send(url: URL, options: RequestOptions, progress: Progress): Promise<Answer> {
    let at = url
    let headers = options.headers ?? {}
    for (let redirects = 0; ; redirects++) {
      this.#check(at)
      const response = await this.#once(at, { ...options, headers }, progress)
      const status = response.statusCode ?? 0
      const location = response.headers.location
      if (!options.follow || status < 300 || status >= 400 || status === 304 || location === undefined) {
        return { status, headers: response.headers, response, url: at }
      }
      response.destroy()
      if (redirects === MAX_REDIRECTS) throw badRedirect(url, 'It redirects without end.')
      const next = URL.parse(location, at.href)
      if (!next) throw badRedirect(url, 'It redirects to something that is no address.')
      if (at.protocol === 'https:' && next.protocol !== 'https:') {
        throw badRedirect(url, 'It redirects to a connection that is not encrypted.')
      }
      // Who we are is nobody's business but the registry's; storage services refuse requests that say it twice.
      if (next.origin !== at.origin) {
        const { authorization: _secret, ...others } = headers
        headers = others
      }
      at = next
    }
  }

  #check(url: URL): void {
    if (url.protocol === 'https:' || (url.protocol === 'http:' && this.#plain)) return
    throw badRedirect(url, 'Only encrypted connections are used with it.')
  }

  #secureRequest(url: URL, settings: HttpsOptions): ClientRequest {
    // Not before it is needed: knowing whom to trust takes a while.
    this.#https ??= this.#makeHttps()
    return httpsRequest(url, { ...settings, agent: this.#https })
  }

  async #once(url: URL, options: RequestOptions, progress: Progress): Promise<IncomingMessage> {
    progress.throwIfEnded()
    const { method, body } = options
    const headers: Record<string, string | number> = { 'user-agent': 'coppice', ...options.headers }
    if (body) headers['content-length'] = body.length
    const settings = { method, headers, signal: progress.signal }
    const request =
      url.protocol === 'https:'
        ? this.#secureRequest(url, settings)
        : httpRequest(url, { ...settings, agent: this.#http })
    request.setTimeout(this.#stallMs, () => request.destroy(stalled(url, this.#stallMs)))
    const response = answered(request)
    response.catch(() => undefined)
    try {
      if (body) await write(request, body, response)
      else request.end()
      return await response
    } catch (error) {
      request.destroy()
      progress.throwIfEnded()
      throw connectionFault(error, url.host, this.#registry)
    }
  }
}

function answered(request: ClientRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once('response', resolve)
    // Not `once`: one that comes after the answer belongs to its body, which reports it too.
    request.on('error', reject)
  })
}

/** Stops when an answer comes before everything is sent: it says why. */
async function write(request: ClientRequest, body: RequestBody, response: Promise<unknown>): Promise<void> {
  let open = true
  let wake = () => {}
  const over = response.finally(() => {
    open = false
    wake()
  })
  over.catch(() => undefined)
  for await (const chunk of body.chunks) {
    if (!open) return
    // Until it is written the chunk is still needed. Not by a race with the answer: it would keep a little of every chunk.
    await new Promise<void>((resolve) => {
      wake = resolve
      request.write(chunk, () => resolve())
    })
  }
  if (open) request.end()
}

/**
 * The bytes of an answer. Throws `Transient` when they end before they should. The answer is destroyed when nobody reads on.
 */
export async function* bodyOf(answer: Answer, progress: Progress): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of answer.response) {
      yield chunk as Buffer
      throwAway(chunk as Buffer)
    }
  } catch (error) {
    progress.throwIfEnded()
    throw connectionFault(error, answer.url.host)
  } finally {
    answer.response.destroy()
  }
}

/** A small body. Throws `unavailable/registry_answer` when it is larger than `limit` bytes. */
export async function smallBody(answer: Answer, limit: number, progress: Progress): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const chunk of bodyOf(answer, progress)) {
    bytes += chunk.length
    if (bytes > limit) throw badAnswer(answer.url.host, `more than ${limit} bytes`)
    parts.push(chunk)
  }
  return Buffer.concat(parts)
}

/** What a registry must not answer. */
export function badAnswer(host: string, what: string): CoppiceError {
  return new CoppiceError('unavailable', 'registry_answer', `${host} answered what no registry does: ${what}.`, {
    retryable: false,
    facts: { registry: host },
  })
}

function badRedirect(url: URL, why: string): CoppiceError {
  return new CoppiceError('failed_precondition', 'registry_redirect', `${url.host} cannot be asked. ${why}`, {
    facts: { registry: url.host },
  })
}

function stalled(url: URL, limitMs: number): Transient {
  const seconds = Math.round(limitMs / 1000)
  return new Transient(
    new CoppiceError('deadline_exceeded', 'transfer_stalled', `${url.host}: nothing came for ${seconds} s.`, {
      retryable: true,
      facts: { registry: url.host, stallMs: limitMs },
      hint: 'COPPICE_TRANSFER_STALL_SECS=600',
    }),
  )
}
