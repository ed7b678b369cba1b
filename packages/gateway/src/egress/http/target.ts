import type { IncomingMessage } from 'node:http'
import { type Host, hostPort, hostText, parseHost } from '../policy/host.ts'
import { valuesOf } from './headers.ts'

/** Where a plain request goes. */
export interface Target {
  host: Host
  port: number
  /** Path and query, exactly as they came. */
  path: string
  /** Value of the `Host` field, and the authority of an absolute form. */
  authority: string
}

/** Why a request is not one that can be passed on: one sentence. */
export type Unusable = { unusable: string }

const ABSOLUTE = /^http:\/\/([^/?#]*)([/?][^#]*)?$/i
const AUTHORITY = /^(\[[^\]]+\]|[^:[\]]*)(?::(\d{0,5}))?$/

/** Reads where a request to a proxy goes, from its request line alone: what `Host` says is never asked. */
export function readTarget(request: IncomingMessage): Target | Unusable {
  const { url = '' } = request
  const framing = unusableFraming(request)
  if (framing) return { unusable: framing }
  const [, authority = '', rest = '/'] = ABSOLUTE.exec(url) ?? []
  if (authority === '') return { unusable: wrongForm(url) }
  const place = readAuthority(authority, 80)
  if (!place) return { unusable: 'The address of the request is neither a name nor an address.' }
  const { host, port } = place
  // Brackets for IPv6 also where the port is left out.
  const shown = port === 80 ? hostPort(host, port).slice(0, -':80'.length) : hostPort(host, port)
  return { host, port, path: rest.startsWith('?') ? `/${rest}` : rest, authority: shown }
}

/** `HOST:PORT`. Undefined for what is not. */
export function readAuthority(text: string, defaultPort: number): { host: Host; port: number } | undefined {
  const [, place = '', digits = ''] = AUTHORITY.exec(text) ?? []
  const host = place === '' ? undefined : parseHost(place)
  const port = digits === '' ? defaultPort : Number(digits)
  return host && hostText(host) !== '' && port > 0 && port < 65_536 ? { host, port } : undefined
}

/** Shapes in which two readers could see two different requests. Node's parser refuses most others itself. */
function unusableFraming(request: IncomingMessage): string | undefined {
  const { rawHeaders } = request
  const hosts = valuesOf(rawHeaders, 'host').length
  if (hosts > 1) return 'The request has more than one Host.'
  if (hosts === 0 && request.httpVersion !== '1.0') return 'The request has no Host.'
  const encodings = valuesOf(rawHeaders, 'transfer-encoding')
  const lengths = valuesOf(rawHeaders, 'content-length')
  if (encodings.length > 0 && lengths.length > 0) return 'The request has Content-Length and Transfer-Encoding.'
  if (lengths.length > 1) return 'The request has more than one Content-Length.'
  const [encoding] = encodings
  if (encodings.length > 1 || (encoding !== undefined && encoding.toLowerCase() !== 'chunked')) {
    return 'The request has a Transfer-Encoding other than chunked.'
  }
  return undefined
}

function wrongForm(url: string): string {
  if (url.startsWith('/') || url === '*') return "This is the sandbox's proxy, and no server by itself."
  if (/^https:/i.test(url)) return 'For https, a proxy is asked by CONNECT.'
  return 'Only http is passed on; for everything else, a proxy is asked by CONNECT.'
}
