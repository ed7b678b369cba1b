import { type Host, hostText, parseHost } from '../policy/host.ts'

/** Longest request head that is waited for, bytes. Node's own limit is 16 KiB, common servers have 8 KiB. */
export const MAX_HEAD_BYTES = 32 * 1024

/**
 * `other`: not HTTP/1. `more`: it may become, or the head has not ended. `malformed`: HTTP/1 that two readers could read
 * differently. `head`: the host that it is for, null when it names none (only HTTP/1.0 may).
 */
export type HeadResult = { is: 'more' } | { is: 'other' } | { is: 'malformed' } | { is: 'head'; host: string | null }

/** The start of a request line, as far as it has come. */
const MAYBE_METHOD = /^[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}([ \t]|$)/
/** What lenient servers take for a request line. */
const MAYBE_REQUEST_LINE = /^[ \t]*\S+[ \t].*HTTP\/\d/i
/** HTTP/2 without TLS is none of ours: not HTTP/1, and what is in it cannot be read from its start. */
const HTTP2_PREFACE = 'PRI * HTTP/2.0\r'
const REQUEST_LINE = /^(\S+) (\S+) (HTTP\/1\.[01])$/i
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/

/** True when the bytes cannot be told from the first line of a request. */
export function looksLikeHttp(bytes: Buffer): boolean {
  const end = bytes.indexOf(0x0a)
  const line = bytes.toString('latin1', 0, end < 0 ? Math.min(bytes.length, MAX_HEAD_BYTES) : end)
  if (end < 0) return MAYBE_METHOD.test(line)
  return MAYBE_REQUEST_LINE.test(line) && line !== HTTP2_PREFACE
}

/** Reads the head of the first request on a connection. */
export function readHttpHead(bytes: Buffer): HeadResult {
  if (!looksLikeHttp(bytes)) return { is: 'other' }
  // A line feed alone ends a line for some readers: it is one here too, and is then refused.
  const end = /\r?\n\r?\n/.exec(bytes.toString('latin1', 0, MAX_HEAD_BYTES))
  if (!end) return bytes.length >= MAX_HEAD_BYTES ? { is: 'malformed' } : { is: 'more' }
  const [first = '', ...fields] = bytes.toString('latin1', 0, end.index).split('\n')
  const bare = [first, ...fields].slice(0, -1).some((line) => !line.endsWith('\r'))
  if (bare || end[0] !== '\r\n\r\n') return { is: 'malformed' }
  const [, , target = '', version = ''] = REQUEST_LINE.exec(first.replace(/\r$/, '')) ?? []
  if (target === '') return { is: 'malformed' }
  const hosts: string[] = []
  for (const line of fields) {
    const [, name = '', value = ''] = FIELD.exec(line.replace(/\r$/, '')) ?? []
    if (name === '') return { is: 'malformed' }
    if (name.toLowerCase() === 'host') hosts.push(value)
  }
  if (hosts.length > 1) return { is: 'malformed' }
  const inTarget = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(target)?.[1]
  const host = hosts[0] ?? null
  if (inTarget !== undefined && host !== null && inTarget !== host) return { is: 'malformed' }
  if (host === null && !version.endsWith('1.0')) return { is: 'malformed' }
  return { is: 'head', host: inTarget ?? host }
}

/** True when a `Host` field, with or without a port, names the host. */
export function namesHost(field: string, host: Host): boolean {
  const named = parseHost(field.replace(/:\d*$/, ''))
  return named !== undefined && hostText(named) === hostText(host)
}
