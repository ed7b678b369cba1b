/** A query as bytes. `edns` adds the record that says that the client speaks it. */
export function dnsQuery(
  name: string,
  type: number,
  { id = 0x1234, flags = 0x0100, dnsClass = 1, edns = false, ednsVersion = 0 } = {},
): Buffer {
  const header = Buffer.alloc(12)
  header.writeUInt16BE(id, 0)
  header.writeUInt16BE(flags, 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(edns ? 1 : 0, 10)
  const labels = name === '' ? [] : name.split('.')
  const encoded = labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label, 'latin1')]))
  const tail = Buffer.alloc(5)
  tail.writeUInt16BE(type, 1)
  tail.writeUInt16BE(dnsClass, 3)
  const opt = Buffer.from([0, 0, 41, 0x10, 0, 0, ednsVersion, 0x80, 0, 0, 0])
  return Buffer.concat([header, ...encoded, tail, ...(edns ? [opt] : [])])
}

/** What a simple client gets out of an answer to a query of the same question. */
export interface DnsReply {
  readonly id: number
  readonly code: number
  readonly answers: number
  /** The data of the one record, if there is one. */
  readonly data: Buffer | undefined
  readonly ttl: number | undefined
  /** Code and text of the extended error. */
  readonly extended: { info: number; text: string } | undefined
}

/** Reads an answer strictly: it must repeat the question and hold nothing that is not counted. */
export function readReply(reply: Buffer, query: Buffer): DnsReply {
  const flags = reply.readUInt16BE(2)
  if ((flags & 0x8080) !== 0x8080) throw new Error('it is no answer of a resolver')
  const [questions, answers, authority, additional] = [4, 6, 8, 10].map((at) => reply.readUInt16BE(at))
  const base = {
    id: reply.readUInt16BE(0),
    answers: answers ?? 0,
    data: undefined,
    ttl: undefined,
    extended: undefined,
  }
  if (questions === 0) {
    if (reply.length !== 12) throw new Error('there is more than a header')
    return { ...base, code: flags & 0xf }
  }
  let at = 12
  while (query[at] !== 0) at += 1 + (query[at] as number)
  at += 5
  const question = query.subarray(12, at)
  if (authority !== 0 || !reply.subarray(12, at).equals(question)) throw new Error('it does not repeat the question')
  let data: Buffer | undefined
  let ttl: number | undefined
  if (answers === 1) {
    if (reply.readUInt16BE(at) !== 0xc00c) throw new Error('the record is not of the question')
    ttl = reply.readUInt32BE(at + 6)
    const length = reply.readUInt16BE(at + 10)
    data = reply.subarray(at + 12, at + 12 + length)
    at += 12 + length
  }
  let code = flags & 0xf
  let extended: DnsReply['extended']
  if (additional === 1) {
    if (reply[at] !== 0 || reply.readUInt16BE(at + 1) !== 41) throw new Error('it is not EDNS')
    code |= (reply[at + 5] as number) << 4
    const length = reply.readUInt16BE(at + 9)
    at += 11
    if (length > 0) {
      if (reply.readUInt16BE(at) !== 15 || reply.readUInt16BE(at + 2) !== length - 4) throw new Error('bad option')
      extended = { info: reply.readUInt16BE(at + 4), text: reply.toString('latin1', at + 6, at + length) }
    }
    at += length
  }
  if (at !== reply.length) throw new Error('there is more than what is counted')
  return { ...base, code, data, ttl, extended }
}
