import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { z } from 'zod'
import { Authority } from './authority.ts'
import { readChallenge } from './challenge.ts'
import { type Answer, Connection, type RequestOptions, smallBody } from './connection.ts'
import { silent, statusFault, type Transient } from './faults.ts'
import { retrying } from './retry.ts'
import { hostName, isLoopback, type RegistrySettings } from './settings.ts'

/** What of an error's body is read and shown. */
const MAX_ERROR_BYTES = 64 * 1024
const MAX_SAID = 300

const ErrorsSchema = z.looseObject({
  errors: z.array(z.looseObject({ code: z.string().nullish(), message: z.string().nullish() })),
})

/** One registry, spoken to as the OCI distribution specification has it. For one repository, whose name requests do not repeat. */
export class RegistryClient {
  readonly settings: RegistrySettings
  readonly #connection: Connection
  readonly #authority: Authority
  #base: Promise<URL> | undefined

  constructor(settings: RegistrySettings) {
    this.settings = settings
    this.#connection = new Connection({
      registry: settings.reference.host,
      insecure: settings.insecure,
      plain: settings.plain,
      certificates: settings.certificates,
      proxied: !isLoopback(hostName(settings.reference.host)),
      stallMs: settings.stallMs,
      parallel: settings.parallel,
    })
    this.#authority = new Authority(this.#connection, settings.credentials)
  }

  /** Host of the registry, for messages. */
  get host(): string {
    return this.settings.reference.host
  }

  close(): void {
    this.#connection.close()
  }

  /** The address of a path below the repository: `manifests/latest`. */
  async url(path: string, progress: Progress): Promise<URL> {
    const base = await this.#connect(progress)
    return new URL(`/v2/${this.settings.reference.repository}/${path}`, base)
  }

  /**
   * Sends a request until it has an answer that is one of `expected` (statuses), once: who wants to try again uses
   * `retrying`. Other answers are thrown by their status, see `statusFault`.
   *
   * @param what what is asked for, as it stands in a message
   */
  async request(
    url: URL,
    options: RequestOptions & { scopes: string[]; expected: number[]; what: string },
    progress: Progress,
  ): Promise<Answer> {
    const { scopes, expected, what, ...request } = options
    const own = url.origin === (await this.#connect(progress)).origin
    for (let attempt = 0; ; attempt++) {
      const authorization = own ? await this.#authority.header(scopes, progress) : undefined
      const headers = { ...request.headers, ...(authorization !== undefined && { authorization }) }
      const answer = await this.#connection.send(url, { ...request, headers }, progress)
      if (expected.includes(answer.status)) return answer
      const challenge = answer.status === 401 ? readChallenge(answer.headers['www-authenticate']) : undefined
      if (challenge && own && attempt === 0) {
        await drained(answer, progress)
        this.#authority.challenged(challenge, authorization)
        continue
      }
      throw await this.#refusal(answer, what, progress)
    }
  }

  /** The same with a small answer, tried again while that can help. */
  async fetch(
    path: string,
    options: RequestOptions & { scopes: string[]; expected: number[]; what: string; limit: number },
    progress: Progress,
  ): Promise<{ answer: Answer; body: Buffer }> {
    return retrying(this.settings, progress, async () => {
      const answer = await this.request(await this.url(path, progress), options, progress)
      return { answer, body: await smallBody(answer, options.limit, progress) }
    })
  }

  /** `pull` or `pull,push` for this repository. */
  scope(actions: 'pull' | 'pull,push', repository = this.settings.reference.repository): string {
    return `repository:${repository}:${actions}`
  }

  async #refusal(answer: Answer, what: string, progress: Progress): Promise<CoppiceError | Transient> {
    const said = await smallBody(answer, MAX_ERROR_BYTES, progress).then(saidIn, () => '')
    const retryAfterMs = retryAfter(answer.headers['retry-after'])
    return statusFault(answer.status, what, { host: this.host, said, retryAfterMs, named: this.#authority.named })
  }

  #connect(progress: Progress): Promise<URL> {
    const base = this.#base ?? this.#findBase(progress)
    this.#base = base
    base.catch(() => {
      if (this.#base === base) this.#base = undefined
    })
    return base
  }

  /** TLS first; plain HTTP where that is allowed and TLS is not understood. Takes the challenge along. */
  async #findBase(progress: Progress): Promise<URL> {
    const host = this.host === 'docker.io' ? 'registry-1.docker.io' : this.host
    const ask = (base: URL) => this.#hello(new URL('/v2/', base), progress)
    return retrying(this.settings, progress, async () => {
      if (this.settings.plain) {
        const base = new URL(`http://${host}`)
        return this.#greeted(base, await ask(base), progress)
      }
      const secure = new URL(`https://${host}`)
      // Only no answer at all means that it speaks no TLS.
      const answer = await ask(secure).catch((error) => {
        progress.throwIfEnded()
        if (!this.settings.insecure) throw error
      })
      if (answer) return this.#greeted(secure, answer, progress)
      const plain = new URL(`http://${host}`)
      return this.#greeted(plain, await ask(plain), progress)
    })
  }

  /** The first words with a registry; with a mirror they are not waited for as long as others. */
  async #hello(url: URL, progress: Progress): Promise<Answer> {
    const { helloMs } = this.settings
    if (helloMs === undefined) return this.#connection.send(url, { method: 'GET' }, progress)
    try {
      return await this.#connection.send(url, { method: 'GET' }, progress.within(helloMs))
    } catch (error) {
      progress.throwIfEnded()
      throw error instanceof CoppiceError && error.code === 'deadline_exceeded' ? silent(url.host, helloMs) : error
    }
  }

  async #greeted(base: URL, answer: Answer, progress: Progress): Promise<URL> {
    if (answer.status === 429 || answer.status >= 500) throw await this.#refusal(answer, 'its API', progress)
    const challenge = answer.status === 401 ? readChallenge(answer.headers['www-authenticate']) : undefined
    if (challenge) this.#authority.challenged(challenge, undefined)
    await drained(answer, progress)
    return base
  }
}

/** Read to its end, a connection is good for the next request. */
async function drained(answer: Answer, progress: Progress): Promise<void> {
  await smallBody(answer, MAX_ERROR_BYTES, progress).catch(() => progress.throwIfEnded())
}

/** Seconds, or a date. */
function retryAfter(header: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const ms = /^[0-9]{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}

/** The registry's own words, on one line and without what a terminal would obey. */
function saidIn(body: Buffer): string {
  let text = body.toString('utf8')
  try {
    const { errors } = ErrorsSchema.parse(JSON.parse(text))
    text = errors.map(({ code, message }) => message || code || '').join('; ')
  } catch {
    // A web page says nothing that helps.
    if (text.trimStart().startsWith('<')) return ''
  }
  return text
    .replaceAll(/[\p{Cc}\s]+/gu, ' ')
    .trim()
    .slice(0, MAX_SAID)
}
