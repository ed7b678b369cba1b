import { isIPv4, isIPv6 } from 'node:net'

export const TYPES: Record<number, string> = {
  1: 'A',
  5: 'CNAME',
  12: 'PTR',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  65: 'HTTPS',
}
export const CODES = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const

/** The question of a query: the rest of the message is ignored. */
export interface Query {
  id: number
  name: string
  type: string
  /** The question section as it came. */
  raw: Buffer
  /** Bytes that an answer over UDP may have. */
  limit: number
}

const HEADER = 12

/** Throws on what is no query with one question. */
export function readQuery(message: Buffer): Query {
  if (message.readUInt16BE(4) !== 1) throw new Error('not one question')
  const labels: string[] = []
  let at = HEADER
  for (let length = message.readUInt8(at); length > 0; length = message.readUInt8(at)) {
    labels.push(message.toString('latin1', at + 1, at + 1 + length).toLowerCase())
    at += 1 + length
  }
  const type = message.readUInt16BE(at + 1)
  const raw = message.subarray(HEADER, at + 5)
  // An EDNS record follows the question with an empty name, type 41 and the size as its class.
  const hasEdns = message.readUInt16BE(10) > 0 && message.length >= at + 10 && message.readUInt16BE(at + 6) === 41
  const limit = hasEdns ? message.readUInt16BE(at + 8) : 512
  return { id: message.readUInt16BE(0), name: labels.join('.'), type: TYPES[type] ?? `TYPE${type}`, raw, limit }
}

export interface Reply {
  code: number
  addresses: string[]
  cname?: string | undefined
  ttl: number
}

export function writeReply(query: Query, reply: Reply, limit: number): Buffer {
  const records = reply.cname ? [record(5, encodeName(reply.cname), reply.ttl)] : []
  for (const address of reply.addresses)
    records.push(record(isIPv4(address) ? 1 : 28, encodeAddress(address), reply.ttl))
  const whole = Buffer.concat([header(query, reply.code, records.length, false), query.raw, ...records])
  return whole.length <= limit ? whole : Buffer.concat([header(query, reply.code, 0, true), query.raw])
}

function header(query: Query, code: number, answers: number, truncated: boolean): Buffer {
  const bytes = Buffer.alloc(HEADER)
  bytes.writeUInt16BE(query.id, 0)
  // An answer with authority, recursion wanted and to be had.
  bytes.writeUInt16BE(0x8580 | (truncated ? 0x200 : 0) | code, 2)
  bytes.writeUInt16BE(1, 4)
  bytes.writeUInt16BE(answers, 6)
  return bytes
}

/** Of the name in the question, which begins behind the header. */
function record(type: number, data: Buffer, ttl: number): Buffer {
  const bytes = Buffer.alloc(12)
  bytes.writeUInt16BE(0xc000 | HEADER, 0)
  bytes.writeUInt16BE(type, 2)
  bytes.writeUInt16BE(1, 4)
  bytes.writeUInt32BE(ttl, 6)
  bytes.writeUInt16BE(data.length, 10)
  return Buffer.concat([bytes, data])
}

function encodeName(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)]))
  return Buffer.concat([...labels, Buffer.of(0)])
}

function encodeAddress(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number))
  if (!isIPv6(address)) throw new Error(`${address} is no address`)
  const [head = '', tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split('::')
  const groups = (text: string | undefined): string[] => (text ? text.split(':') : [])
  const missing = 8 - groups(head).length - groups(tail).length
  const all = [...groups(head), ...Array<string>(tail === undefined ? 0 : missing).fill('0'), ...groups(tail)]
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex')
}
