import type { GateVerdict } from '../sniff/gate.ts'

/** Fatal alert 49, access_denied, in a record of TLS 1.2 as all versions send it before they have agreed on one. */
const TLS_ALERT = Buffer.from([21, 3, 3, 0, 2, 2, 49])

/** A refusal as the program's own protocol says it. */
export function refusalBytes({ rule, message, answer }: GateVerdict & { is: 'refuse' }): Buffer {
  if (answer === 'tls') return TLS_ALERT
  const status = rule === 'malformed_request' ? '400 Bad Request' : '403 Forbidden'
  const body = Buffer.from(`${message}\n`)
  const head = [
    `HTTP/1.1 ${status}`,
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${body.length}`,
    `X-Coppice-Rule: ${rule}`,
    'Connection: close',
  ]
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body])
}
