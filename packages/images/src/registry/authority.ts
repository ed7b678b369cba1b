import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { z } from 'zod'
import { parseJson } from '../store/schemas.ts'
import type { Challenge } from './challenge.ts'
import { badAnswer, type Connection, smallBody } from './connection.ts'
import type { Credentials, PasswordCredentials } from './credentials.ts'
import { statusFault } from './faults.ts'

/** A token of a token service is at most this large, bytes. */
const MAX_TOKEN_BYTES = 256 * 1024

/** Seconds that a token is good for when the service does not say; and what is taken off, for the way. */
const DEFAULT_TOKEN_SECS = 60
const SPARE_SECS = 10

const TokenSchema = z.looseObject({
  token: z.string().nullish(),
  access_token: z.string().nullish(),
  expires_in: z.number().nullish(),
})

interface Token {
  /** Shared by all who ask for it while it is on its way. */
  header: Promise<string>
  /** The same when it is there. */
  value?: string
  /** Unix milliseconds. */
  until: number
}

/** Says who asks, in the way that the registry wants; fetches tokens and keeps them while they are good. */
export class Authority {
  readonly #connection: Connection
  readonly #credentials: Credentials | undefined
  readonly #tokens = new Map<string, Token>()
  #challenge: Challenge | undefined

  constructor(connection: Connection, credentials: Credentials | undefined) {
    this.#connection = connection
    this.#credentials = credentials
  }

  /** Whether somebody is named, or everybody is asking. */
  get named(): boolean {
    return this.#credentials !== undefined
  }

  /** Takes up what the registry wants. The token that it has refused is forgotten, not one that came for it meanwhile. */
  challenged(challenge: Challenge, refused: string | undefined): void {
    this.#challenge = challenge
    for (const [key, entry] of this.#tokens) if (entry.value === refused) this.#tokens.delete(key)
  }

  /** The `Authorization` for these scopes (`repository:NAME:pull`), or undefined when none is wanted. */
  async header(scopes: string[], progress: Progress): Promise<string | undefined> {
    const challenge = this.#challenge
    if (!challenge) return undefined
    if (challenge.scheme === 'basic') {
      const who = this.#credentials
      return who && 'username' in who ? basic(who) : undefined
    }
    const key = scopes.join(' ')
    const known = this.#tokens.get(key)
    if (known && known.until > Date.now()) return known.header
    const entry: Token = { header: Promise.resolve(''), until: Number.POSITIVE_INFINITY }
    entry.header = this.#fetch(challenge, scopes, progress).then(({ token, seconds }) => {
      entry.until = Date.now() + (seconds - SPARE_SECS) * 1000
      entry.value = `Bearer ${token}`
      return entry.value
    })
    this.#tokens.set(key, entry)
    entry.header.catch(() => this.#tokens.delete(key))
    return entry.header
  }

  async #fetch(
    { realm, service }: Challenge & { scheme: 'bearer' },
    scopes: string[],
    progress: Progress,
  ): Promise<{ token: string; seconds: number }> {
    const url = URL.parse(realm)
    if (!url) throw badAnswer('The registry', `a token service at "${realm.slice(0, 200)}"`)
    const who = this.#credentials
    let request: Parameters<Connection['send']>[1]
    if (who && 'identityToken' in who) {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: 'coppice',
        refresh_token: who.identityToken,
        ...(service !== undefined && { service }),
        scope: scopes.join(' '),
      })
      const bytes = Buffer.from(form.toString())
      request = {
        method: 'POST',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: { length: bytes.length, chunks: [bytes] },
      }
    } else {
      if (service !== undefined) url.searchParams.append('service', service)
      for (const scope of scopes) url.searchParams.append('scope', scope)
      if (who) url.searchParams.append('account', who.username)
      request = { method: 'GET', follow: true, ...(who && { headers: { authorization: basic(who) } }) }
    }
    const answer = await this.#connection.send(url, request, progress)
    const body = await smallBody(answer, MAX_TOKEN_BYTES, progress)
    if (answer.status !== 200) {
      const detail = { host: url.host, said: '', retryAfterMs: undefined, named: this.named }
      throw statusFault(answer.status === 400 ? 401 : answer.status, `a token for ${scopes.join(' ')}`, detail)
    }
    return readToken(body, url.host)
  }
}

function readToken(body: Buffer, host: string): { token: string; seconds: number } {
  let answer: z.infer<typeof TokenSchema>
  try {
    answer = parseJson(TokenSchema, body, 'The token')
  } catch {
    throw badAnswer(host, 'a token that cannot be read')
  }
  const token = answer.token || answer.access_token
  // What would break out of a header is no token.
  if (!token || !/^[\x21-\x7e]+$/.test(token)) throw badAnswer(host, 'no token')
  return { token, seconds: Math.min(Math.max(answer.expires_in ?? 0, DEFAULT_TOKEN_SECS), 24 * 3600) }
}

function basic({ username, password }: PasswordCredentials): string {
  if (username.includes(':')) {
    throw new CoppiceError('invalid_argument', 'invalid_credentials', 'A user name cannot hold a colon.')
  }
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}
