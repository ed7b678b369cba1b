import type { IncomingMessage, OutgoingMessage } from 'node:http'
import { containedCookie, type PreviewAccess, TOKEN_HEADER, withoutTokenCookie } from './access.ts'

/** Headers that concern one connection and not the message (RFC 9110, 7.6.1), beside those that `Connection` names. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'upgrade',
  'http2-settings',
])

/** What `Connection` must not take away: without these a message has another end, or another meaning. */
const FRAMING = new Set(['host', 'content-length', 'transfer-encoding', 'trailer'])

/** What this gateway says itself about where a request comes from. Whatever the client said of it is dropped. */
const FORWARDED = new Set(['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto'])

/** What must not come behind a body: it would be read as if it had come before. */
const NEVER_TRAILERS = new Set([
  ...HOP_BY_HOP,
  ...FRAMING,
  ...FORWARDED,
  TOKEN_HEADER,
  'authorization',
  'content-encoding',
  'content-type',
  'cookie',
  'set-cookie',
])

/** A list of headers as Node has it raw: name, value, name, value, in the order and case in which they came. */
export type RawHeaders = string[]

function* pairs(raw: readonly string[]): Generator<[lower: string, name: string, value: string]> {
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? ''
    yield [name.toLowerCase(), name, raw[at + 1] ?? '']
  }
}

/** Every header that concerns the connection it came on alone. */
function hopByHop(raw: readonly string[]): Set<string> {
  const hop = new Set(HOP_BY_HOP)
  for (const [lower, , value] of pairs(raw)) {
    if (lower !== 'connection') continue
    for (const option of value.toLowerCase().split(',')) if (!FRAMING.has(option.trim())) hop.add(option.trim())
  }
  return hop
}

/** How a message's body is delimited. `bad`: in a way that this gateway does not pass on. */
export function bodyOf(message: IncomingMessage): 'none' | 'length' | 'chunked' | 'bad' {
  const coding = message.headers['transfer-encoding']
  if (coding !== undefined) return coding.trim().toLowerCase() === 'chunked' ? 'chunked' : 'bad'
  const length = message.headers['content-length']
  return length === undefined || length === '0' ? 'none' : 'length'
}

/** How often a header was sent. */
export function countOf(raw: readonly string[], wanted: string): number {
  let count = 0
  for (const [lower] of pairs(raw)) if (lower === wanted) count += 1
  return count
}

/**
 * A request's headers as they go into a sandbox: what is meant for this gateway stays here, and the sandbox is told who asked.
 * @param upgrade it asks for another protocol, and that is passed on
 */
export function inwardHeaders(request: IncomingMessage, access: PreviewAccess, upgrade: boolean): RawHeaders {
  const raw = request.rawHeaders
  const hop = hopByHop(raw)
  if (upgrade) hop.delete('upgrade')
  const chunked = bodyOf(request) === 'chunked'
  const headers: RawHeaders = []
  for (const [lower, name, value] of pairs(raw)) {
    if (lower === 'connection' && upgrade) headers.push(name, 'Upgrade')
    if (hop.has(lower) || FORWARDED.has(lower) || lower === TOKEN_HEADER) continue
    if (lower === 'trailer' && !chunked) continue
    if (lower === 'authorization' && access.isGatewayToken(value)) continue
    const kept = lower === 'cookie' ? withoutTokenCookie(value) : value
    if (kept !== undefined) headers.push(name, kept)
  }
  // Node would announce chunks for a POST that has nothing.
  const needsLength = bodyOf(request) === 'none' && request.headers['content-length'] === undefined
  if (needsLength && !/^(GET|HEAD|DELETE|OPTIONS|TRACE)$/.test(request.method ?? ''))
    headers.push('Content-Length', '0')
  headers.push('X-Forwarded-For', (request.socket.remoteAddress ?? '').replace(/^::ffff:/, ''))
  headers.push('X-Forwarded-Host', request.headers.host ?? '')
  headers.push('X-Forwarded-Proto', isSecure(request) ? 'https' : 'http')
  return headers
}

/**
 * An answer's headers as they go to the client.
 * @param chunks the client takes chunks (HTTP/1.1) and the answer has a body
 * @param upgrade it agrees to another protocol
 */
export function outwardHeaders(answer: IncomingMessage, chunks: boolean, upgrade = false): RawHeaders {
  const raw = answer.rawHeaders
  const hop = hopByHop(raw)
  if (upgrade) hop.delete('upgrade')
  const chunked = chunks && bodyOf(answer) === 'chunked'
  const headers: RawHeaders = []
  for (const [lower, name, value] of pairs(raw)) {
    if (lower === 'connection' && upgrade) headers.push(name, 'Upgrade')
    if (hop.has(lower)) continue
    if ((lower === 'transfer-encoding' || lower === 'trailer') && !chunked) continue
    const kept = lower === 'set-cookie' ? containedCookie(value) : value
    if (kept !== undefined) headers.push(name, kept)
  }
  return headers
}

/** Passes trailers on, as far as they may be. */
export function addTrailers(message: OutgoingMessage, raw: readonly string[]): void {
  const trailers: [string, string][] = []
  for (const [lower, name, value] of pairs(raw)) if (!NEVER_TRAILERS.has(lower)) trailers.push([name, value])
  if (trailers.length === 0) return
  try {
    message.addTrailers(trailers)
  } catch {
    // What Node would not write is not worth the message.
  }
}

/** True when the client speaks TLS to this gateway. */
export function isSecure(request: IncomingMessage): boolean {
  return (request.socket as { encrypted?: boolean }).encrypted === true
}
