import type { EgressRefusal } from '@coppice/protocol/wire'
import type { Found } from '../intake.ts'
import { BadRequest, execId, MAX_HEAD_BYTES, nameOf, type Request } from './dialect.ts'

const STATUS: Record<EgressRefusal['kind'], string> = {
  denied: '403 Forbidden',
  unreachable: '502 Bad Gateway',
  refused: '502 Bad Gateway',
  no_such_name: '502 Bad Gateway',
  timeout: '504 Gateway Timeout',
  limit: '503 Service Unavailable',
}

const ACCEPTED = Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n')

/** Characters of a method: what a request must begin with. */
const METHOD_BYTE = /^[A-Za-z0-9!#$%&'*+.^_`|~-]/

const AUTHORITY = /^(?:\[([0-9A-Fa-f:.]{2,45})\]|([^\s:@/?#[\]\\]{1,1024})):([0-9]{1,5})$/

const CREDENTIALS = /^proxy-authorization:[ \t]*basic[ \t]+([A-Za-z0-9+/]+=*)[ \t]*\r?$/im

/**
 * A request to an HTTP proxy. `CONNECT` is taken off the bytes; every other one is left there, whole, for the gateway, which
 * speaks HTTP with the program from its first byte on.
 * @throws BadRequest
 */
export function httpRequest(bytes: Buffer): Found<Request> {
  if (bytes.length === 0) return undefined
  if (!METHOD_BYTE.test(bytes.toString('latin1', 0, 1))) throw badRequest('This port takes HTTP, CONNECT and SOCKS.')
  const end = headEnd(bytes)
  if (end === undefined) {
    if (bytes.length > MAX_HEAD_BYTES) throw tooLong()
    return undefined
  }
  if (end > MAX_HEAD_BYTES) throw tooLong()
  const head = bytes.toString('latin1', 0, end)
  const exec = execOf(head)
  if (!head.startsWith('CONNECT ')) {
    const wanted = { via: 'http', host: '', port: 0, exec } as const
    return { value: { wanted, accepted: Buffer.alloc(0), refusal: httpRefusal }, used: 0 }
  }
  const [, target = ''] = /^CONNECT ([^ ]+) HTTP\/1\.[01]\r?\n/.exec(head) ?? []
  const [, v6, name, port] = AUTHORITY.exec(target) ?? []
  const host = nameOf(Buffer.from(v6 ?? name ?? '', 'latin1'))
  const number = Number(port)
  if (host === undefined || !(number >= 1 && number <= 65_535)) throw badRequest('CONNECT takes HOST:PORT.')
  const wanted = { via: 'connect', host, port: number, exec } as const
  return { value: { wanted, accepted: ACCEPTED, refusal: httpRefusal }, used: end }
}

/** A refusal as an answer: its status line says why too, because that is all that most programs show of it. */
export function httpRefusal({ kind, rule, message, hint }: EgressRefusal): Buffer {
  const reason = [STATUS[kind], visible(message, 300)].filter(Boolean).join(': ')
  const body = `${[message, hint].filter(Boolean).join('\n')}\n`
  return answer(reason, body, `X-Coppice-Rule: ${visible(rule, 300)}\r\n`)
}

/** Said to a program whose head does not come to its end. */
export const SLOW_HEAD = answer('408 Request Timeout', 'The head of the request did not come within 10 s.\n')

function answer(status: string, body: string, headers = ''): Buffer {
  const length = Buffer.byteLength(body)
  const type = 'Content-Type: text/plain; charset=utf-8'
  return Buffer.from(
    `HTTP/1.1 ${status}\r\n${type}\r\nContent-Length: ${length}\r\n${headers}Connection: close\r\n\r\n${body}`,
  )
}

function badRequest(message: string): BadRequest {
  return new BadRequest(message, answer('400 Bad Request', `${message}\n`))
}

function tooLong(): BadRequest {
  const message = `The head of a request may have ${MAX_HEAD_BYTES} bytes.`
  return new BadRequest(message, answer('431 Request Header Fields Too Large', `${message}\n`))
}

/** Where the first byte behind the empty line is. Bare line feeds count: the gateway's parser decides whether it takes them. */
function headEnd(bytes: Buffer): number | undefined {
  const strict = bytes.indexOf('\r\n\r\n')
  const bare = bytes.indexOf('\n\n')
  if (strict >= 0 && (bare < 0 || strict < bare)) return strict + 4
  return bare >= 0 ? bare + 2 : undefined
}

function execOf(head: string): string | null {
  const [, credentials] = CREDENTIALS.exec(head) ?? []
  if (credentials === undefined) return null
  const text = Buffer.from(credentials, 'base64').toString('latin1')
  return execId(text.split(':', 1)[0])
}

/** Text that cannot end a line of a head. */
function visible(text: string, length: number): string {
  return text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, length)
}
