/** Kinds of records and answers that are known here (RFC 1035, 3596, 6891, 8914). */
export const DnsType = { A: 1, PTR: 12, AAAA: 28, OPT: 41 } as const
export const DnsCode = {
  ok: 0,
  formatError: 1,
  serverFailure: 2,
  noSuchName: 3,
  notImplemented: 4,
  badVersion: 16,
} as const

/** Extended error of RFC 8914: the name is barred by policy. */
export const EDE_PROHIBITED = 18

/** Bytes of an answer that any client takes; ours never have more. */
const MAX_ANSWER_BYTES = 512

/** What answers say that the supervisor takes, with EDNS. */
const UDP_BYTES = 1232

const HEADER_BYTES = 12
const MAX_NAME_BYTES = 255
const MAX_LABEL_BYTES = 63

/** Records behind the question that are looked through for EDNS. */
const MAX_RECORDS = 16

const FLAG_RESPONSE = 0x8000
const FLAG_RECURSION_DESIRED = 0x0100
const FLAG_RECURSION_AVAILABLE = 0x0080
const FLAG_CHECKING_DISABLED = 0x0010
const CLASS_IN = 1
const CLASS_ANY = 255
const POINTER = 0xc0

/** A question as it came. */
export interface DnsQuery {
  readonly id: number
  /** Recursion desired and checking disabled, which answers repeat. */
  readonly flags: number
  /** The question's own bytes, which answers repeat: upper and lower case are the client's. */
  readonly question: Buffer
  /** Each label's bytes. */
  readonly labels: readonly Buffer[]
  readonly type: number
  /** Undefined: without EDNS. */
  readonly edns: { readonly version: number; readonly dnssecOk: boolean } | undefined
}

/** What is answered to a query that is none. Undefined as a whole: nothing, so that no two resolvers talk for ever. */
export interface DnsRefusal {
  readonly id: number
  readonly code: number
}

/**
 * Reads a query. Bounded and total: any bytes give a query, a refusal, or undefined for what must not be answered. Names are
 * not compressed in the one place where one is read, the question, so no pointer is ever followed.
 */
export function parseQuery(bytes: Buffer): DnsQuery | DnsRefusal | undefined {
  if (bytes.length < HEADER_BYTES) return undefined
  const id = bytes.readUInt16BE(0)
  const flags = bytes.readUInt16BE(2)
  if (flags & FLAG_RESPONSE) return undefined
  if ((flags >> 11) & 0xf) return { id, code: DnsCode.notImplemented }
  const malformed = { id, code: DnsCode.formatError }
  if (bytes.readUInt16BE(4) !== 1) return malformed
  const name = readName(bytes, HEADER_BYTES)
  if (!name || name.end + 4 > bytes.length) return malformed
  const questionEnd = name.end + 4
  const type = bytes.readUInt16BE(name.end)
  const dnsClass = bytes.readUInt16BE(name.end + 2)
  if (dnsClass !== CLASS_IN && dnsClass !== CLASS_ANY) return { id, code: DnsCode.notImplemented }
  const edns = findEdns(bytes, questionEnd)
  if (edns === 'malformed') return malformed
  return {
    id,
    flags: flags & (FLAG_RECURSION_DESIRED | FLAG_CHECKING_DISABLED),
    question: bytes.subarray(HEADER_BYTES, questionEnd),
    labels: name.labels,
    type,
    edns,
  }
}

/** An answer's parts. */
export interface DnsAnswer {
  readonly code: number
  /** Bytes of one record of the question's own name and type. */
  readonly record?: Buffer
  /** Seconds that it may be kept. */
  readonly ttl?: number
  /** Extended error, told to clients that speak EDNS. */
  readonly extended?: { readonly info: number; readonly text: string }
}

export function encodeAnswer(query: DnsQuery, { code, record, ttl = 0, extended }: DnsAnswer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt16BE(query.id, 0)
  header.writeUInt16BE(FLAG_RESPONSE | query.flags | FLAG_RECURSION_AVAILABLE | (code & 0xf), 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(record ? 1 : 0, 6)
  header.writeUInt16BE(query.edns ? 1 : 0, 10)
  const parts = [header, query.question]
  if (record) parts.push(answerRecord(query.type, ttl, record))
  if (query.edns) {
    const room = MAX_ANSWER_BYTES - parts.reduce((sum, part) => sum + part.length, 0)
    parts.push(optRecord(query.edns.dnssecOk, code >> 4, extended, room))
  }
  return Buffer.concat(parts)
}

/** A header alone, for a query whose question could not be read. */
export function encodeRefusal({ id, code }: DnsRefusal): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt16BE(id, 0)
  header.writeUInt16BE(FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | code, 2)
  return header
}

/** A name in the form that records have. Undefined when it cannot be one. */
export function encodeName(name: string): Buffer | undefined {
  const parts: Buffer[] = []
  for (const label of name.split('.')) {
    const bytes = Buffer.from(label, 'latin1')
    if (bytes.length === 0 || bytes.length > MAX_LABEL_BYTES) return undefined
    parts.push(Buffer.from([bytes.length]), bytes)
  }
  const encoded = Buffer.concat([...parts, Buffer.alloc(1)])
  return encoded.length <= MAX_NAME_BYTES ? encoded : undefined
}

function answerRecord(type: number, ttl: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12)
  // The question's name, which is where it always is.
  head.writeUInt16BE((POINTER << 8) | HEADER_BYTES, 0)
  head.writeUInt16BE(type, 2)
  head.writeUInt16BE(CLASS_IN, 4)
  head.writeUInt32BE(ttl, 6)
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}

function optRecord(dnssecOk: boolean, codeHigh: number, extended: DnsAnswer['extended'], room: number): Buffer {
  const head = Buffer.alloc(11)
  head.writeUInt16BE(DnsType.OPT, 1)
  head.writeUInt16BE(UDP_BYTES, 3)
  head.writeUInt8(codeHigh, 5)
  head.writeUInt16BE(dnssecOk ? 0x8000 : 0, 7)
  const textRoom = room - head.length - 6
  if (!extended || textRoom < 0) return head
  const text = Buffer.from(extended.text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, textRoom), 'latin1')
  head.writeUInt16BE(6 + text.length, 9)
  const option = Buffer.alloc(6)
  option.writeUInt16BE(15, 0)
  option.writeUInt16BE(2 + text.length, 2)
  option.writeUInt16BE(extended.info, 4)
  return Buffer.concat([head, option, text])
}

function readName(bytes: Buffer, from: number): { labels: Buffer[]; end: number } | undefined {
  const labels: Buffer[] = []
  for (let at = from; at < bytes.length; ) {
    const length = bytes[at] as number
    if (length === 0) return at + 1 - from <= MAX_NAME_BYTES ? { labels, end: at + 1 } : undefined
    if (length > MAX_LABEL_BYTES || at + 1 + length > bytes.length) return undefined
    labels.push(bytes.subarray(at + 1, at + 1 + length))
    at += 1 + length
  }
  return undefined
}

/** Where the name that starts at `from` ends. A pointer is its end, wherever it points to. */
function skipName(bytes: Buffer, from: number): number | undefined {
  for (let at = from; at < bytes.length && at - from <= MAX_NAME_BYTES; ) {
    const length = bytes[at] as number
    if (length === 0) return at + 1
    if ((length & POINTER) === POINTER) return at + 2
    if (length > MAX_LABEL_BYTES) return undefined
    at += 1 + length
  }
  return undefined
}

function findEdns(bytes: Buffer, from: number): DnsQuery['edns'] | 'malformed' {
  const records = bytes.readUInt16BE(6) + bytes.readUInt16BE(8) + bytes.readUInt16BE(10)
  if (records > MAX_RECORDS) return 'malformed'
  let edns: DnsQuery['edns']
  let at = from
  for (let index = 0; index < records; index++) {
    const head = skipName(bytes, at)
    if (head === undefined || head + 10 > bytes.length) return 'malformed'
    if (bytes.readUInt16BE(head) === DnsType.OPT) {
      if (edns) return 'malformed'
      edns = { version: bytes.readUInt8(head + 5), dnssecOk: (bytes.readUInt16BE(head + 6) & 0x8000) !== 0 }
    }
    at = head + 10 + bytes.readUInt16BE(head + 8)
    if (at > bytes.length) return 'malformed'
  }
  return edns
}
