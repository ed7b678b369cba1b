import type { Host } from '../policy/host.ts'
import { looksLikeTls, readClientHello } from './client-hello.ts'
import { looksLikeHttp, namesHost, readHttpHead } from './http-head.ts'

/**
 * `more`: keep the bytes and ask again with more of them. `pass`: they may go out, and all that follows. `refuse`: nothing goes
 * out; `answer` is what the program can be told in its own protocol.
 */
export type GateVerdict =
  | { is: 'more' }
  | { is: 'pass' }
  | { is: 'refuse'; rule: string; message: string; answer: 'tls' | 'http' }

const MORE: GateVerdict = { is: 'more' }
const PASS: GateVerdict = { is: 'pass' }

/**
 * Looks at the first bytes that a program sends on a connection to a name. A TLS server name or an HTTP host must be that
 * name: otherwise an allowed name would be a door to every other site behind the same address. Other protocols pass.
 *
 * @param bytes all so far, at least one
 * @param ended no more will come
 */
export function inspect(bytes: Buffer, name: string, ended: boolean): GateVerdict {
  if (looksLikeTls(bytes)) return inspectTls(bytes, name, ended)
  if (looksLikeHttp(bytes)) return inspectHttp(bytes, name, ended)
  return PASS
}

/** What a connection is refused with whose first bytes do not come to an end in time. */
export function tooSlow(bytes: Buffer): GateVerdict & { is: 'refuse' } {
  return refuse('first_bytes', 'The first bytes did not arrive in time.', looksLikeTls(bytes) ? 'tls' : 'http')
}

function inspectTls(bytes: Buffer, name: string, ended: boolean): GateVerdict {
  const hello = readClientHello(bytes)
  if (hello.is === 'more' && !ended) return MORE
  if (hello.is !== 'hello') return refuse('malformed_tls', 'The TLS ClientHello could not be read.', 'tls')
  const given = hello.serverName?.toLowerCase().replace(/\.$/, '')
  if (given === name) return PASS
  const said = given === undefined ? 'no server name' : `another server name (${shorten(given)})`
  return refuse('sni_mismatch', `The connection was asked for ${name}, and TLS on it has ${said}.`, 'tls')
}

function inspectHttp(bytes: Buffer, name: string, ended: boolean): GateVerdict {
  const head = readHttpHead(bytes)
  // A word without a line end is no request: a protocol of its own that says little.
  if (head.is === 'more') return ended && !bytes.includes(0x0a) ? PASS : ended ? malformed() : MORE
  if (head.is === 'malformed') return malformed()
  if (head.is === 'other' || head.host === null) return PASS
  const host: Host = { kind: 'name', name }
  if (namesHost(head.host, host)) return PASS
  return refuse(
    'host_mismatch',
    `The connection was asked for ${name}, and the request on it is for ${shorten(head.host)}.`,
    'http',
  )
}

function malformed(): GateVerdict {
  return refuse('malformed_request', 'The HTTP request could not be read in one way only.', 'http')
}

function refuse(rule: string, message: string, answer: 'tls' | 'http'): GateVerdict & { is: 'refuse' } {
  return { is: 'refuse', rule, message, answer }
}

/** It came from inside and goes into records and answers. */
function shorten(text: string): string {
  return text.slice(0, 253).replace(/[^\x21-\x7e]/g, '?')
}
