import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { parseAddress } from '../policy/address.ts'

/** What a name is: addresses, or `missing` (NXDOMAIN), `broken` (SERVFAIL), `silent` (no answer). */
export type Zone = Record<string, readonly string[] | 'missing' | 'broken' | 'silent' | (() => readonly string[])>

const A = 1
const AAAA = 28

/** A real name server on loopback, over UDP. Names that are not in its zone are missing. */
export class NameServer {
  /** Names that were asked for, once for each question. */
  readonly asked: string[] = []
  readonly #socket: Socket
  readonly #zone: Zone
  readonly #ttl: number

  private constructor(socket: Socket, zone: Zone, ttl: number) {
    this.#socket = socket
    this.#zone = zone
    this.#ttl = ttl
    socket.on('message', (question, from) => this.#answer(question, from))
  }

  static async start(zone: Zone, ttl = 60): Promise<NameServer> {
    const socket = createSocket('udp4')
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    return new NameServer(socket, zone, ttl)
  }

  /** As a resolver in the configuration. */
  get address(): string {
    return `127.0.0.1:${this.#socket.address().port}`
  }

  close(): void {
    this.#socket.close()
  }

  #answer(question: Buffer, from: RemoteInfo): void {
    const labels: string[] = []
    let at = 12
    for (let length = question[at] ?? 0; length > 0; length = question[at] ?? 0) {
      labels.push(question.toString('latin1', at + 1, at + 1 + length))
      at += 1 + length
    }
    const type = question.readUInt16BE(at + 1)
    const name = labels.join('.').toLowerCase()
    this.asked.push(name)
    const known = this.#zone[name] ?? 'missing'
    if (known === 'silent') return
    const texts = typeof known === 'function' ? known() : typeof known === 'string' ? [] : known
    const family = type === A ? 4 : type === AAAA ? 6 : 0
    const found = texts.flatMap((text) => {
      const address = parseAddress(text)
      // A mapped address is IPv4 to us, and still an AAAA record to whoever serves it.
      if (address && text.includes(':')) return family === 6 ? [bytesOf(address.bits | mapped(address.family), 16)] : []
      return address && family === 4 ? [bytesOf(address.bits, 4)] : []
    })
    const head = Buffer.alloc(12)
    question.copy(head, 0, 0, 2)
    const code = known === 'missing' ? 3 : known === 'broken' ? 2 : 0
    head.writeUInt16BE(0x8180 | code, 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(found.length, 6)
    const records = found.map((data) => {
      const record = Buffer.alloc(12)
      record.writeUInt16BE(0xc00c, 0)
      record.writeUInt16BE(type, 2)
      record.writeUInt16BE(1, 4)
      record.writeUInt32BE(this.#ttl, 6)
      record.writeUInt16BE(data.length, 10)
      return Buffer.concat([record, data])
    })
    this.#socket.send(Buffer.concat([head, question.subarray(12, at + 5), ...records]), from.port, from.address)
  }
}

function mapped(family: 4 | 6): bigint {
  return family === 4 ? 0xffffn << 32n : 0n
}

function bytesOf(bits: bigint, length: number): Buffer {
  return Buffer.from(bits.toString(16).padStart(length * 2, '0'), 'hex')
}
