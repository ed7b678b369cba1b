import { createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'

/** Name of the query parameter and of the cookie. */
export const TOKEN_NAME = 'coppice-token'
/** Name of the header, lower case. */
export const TOKEN_HEADER = 'x-coppice-token'

/** Cookies of the token's name that are looked at. A page on another host can add some, not make them count. */
const MAX_COOKIES = 8

/**
 * The tokens that open the ports of sandboxes: one for each, made from the gateway's own and the sandbox's id, so that none is
 * stored, none says anything about another, and a new token of the gateway ends them all.
 */
export class PreviewAccess {
  readonly #secret: string

  /** @param secret the gateway's token */
  constructor(secret: string) {
    this.#secret = secret
  }

  /** 256 bits, base64url. */
  token(sandboxId: string): string {
    return createHmac('sha256', this.#secret).update(`coppice preview\0${sandboxId}`).digest('base64url')
  }

  /** True when one of what was presented is the sandbox's token. */
  opens(sandboxId: string, presented: readonly string[]): boolean {
    const token = Buffer.from(this.token(sandboxId))
    let opens = false
    for (const text of presented) {
      const other = Buffer.from(text)
      if (other.length === token.length && timingSafeEqual(other, token)) opens = true
    }
    return opens
  }

  /** True for an `Authorization` that carries the gateway's own token, which is not for a sandbox to see. */
  isGatewayToken(authorization: string): boolean {
    const [, text = ''] = authorization.trim().split(/\s+/)
    const presented = digest(text)
    return timingSafeEqual(presented, digest(this.#secret))
  }
}

function digest(text: string): Buffer {
  return createHmac('sha256', 'compare').update(text).digest()
}

/** Tokens that a request carries in its header and its cookies. */
export function presentedTokens(request: IncomingMessage): string[] {
  const header = request.headers[TOKEN_HEADER]
  const cookies = cookiePairs(request.headers.cookie ?? '')
    .filter(({ name }) => name === TOKEN_NAME)
    .slice(0, MAX_COOKIES)
    .map(({ value }) => value)
  return [...(typeof header === 'string' ? [header] : []), ...cookies]
}

/** A `Cookie` header without the token; undefined when nothing is left. The others stay as they were written. */
export function withoutTokenCookie(header: string): string | undefined {
  if (!header.includes(TOKEN_NAME)) return header
  const others = cookiePairs(header).filter(({ name }) => name !== TOKEN_NAME)
  return others.length === 0
    ? undefined
    : others
        .map(({ text }) => text)
        .join(';')
        .trimStart()
}

/** A request's path without the token in its query, byte for byte otherwise; and the token, if there was one. */
export function withoutTokenQuery(url: string): { path: string; token: string | undefined } {
  const at = url.indexOf('?')
  if (at < 0 || !url.includes(`${TOKEN_NAME}=`, at)) return { path: url, token: undefined }
  const parts = url.slice(at + 1).split('&')
  const others = parts.filter((part) => !part.startsWith(`${TOKEN_NAME}=`))
  const token = parts.find((part) => part.startsWith(`${TOKEN_NAME}=`))?.slice(TOKEN_NAME.length + 1)
  return { path: others.length === 0 ? url.slice(0, at) : `${url.slice(0, at)}?${others.join('&')}`, token }
}

/** What makes a browser remember the token: for this host alone, out of reach of the page, not sent by other sites' requests. */
export function tokenCookie(token: string, secure: boolean): string {
  return `${TOKEN_NAME}=${token}; Path=/; HttpOnly; SameSite=Lax${secure ? '; Secure' : ''}`
}

/**
 * A `Set-Cookie` as a sandbox may set it: for its own host alone, and not the one that opens it. Undefined: not at all.
 * Pages of one sandbox could otherwise leave cookies for those of another, or for the gateway.
 */
export function containedCookie(setCookie: string): string | undefined {
  const [pair = '', ...attributes] = setCookie.split(';')
  if (pair.split('=', 1)[0]?.trim() === TOKEN_NAME) return undefined
  const kept = attributes.filter((attribute) => attribute.split('=', 1)[0]?.trim().toLowerCase() !== 'domain')
  return [pair, ...kept].join(';')
}

function cookiePairs(header: string): { name: string; value: string; text: string }[] {
  return header.split(';').map((text) => {
    const at = text.indexOf('=')
    const name = (at < 0 ? '' : text.slice(0, at)).trim()
    return { name, value: text.slice(at + 1).trim(), text }
  })
}
