import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, isIPv4 } from 'node:net'
import { ADDRESSES } from '../addresses.ts'
import { CODES, type Query, type Reply, readQuery, writeReply } from './dns-message.ts'
import type { Journal } from './journal.ts'
import type { NameSettings } from './protocol.ts'

interface Entry {
  settings: NameSettings
  /** Questions so far, by type. */
  asked: Map<string, number>
}

/** A name server whose zone is the test's: what is not in it does not exist. */
export class Names {
  readonly #zone = new Map<string, Entry>()
  readonly #journal: Journal

  constructor(journal: Journal) {
    this.#journal = journal
  }

  set(name: string, settings: NameSettings | null): void {
    if (settings) this.#zone.set(name.toLowerCase(), { settings, asked: new Map() })
    else this.#zone.delete(name.toLowerCase())
  }

  /** Addresses for servers of this network that look names up themselves. */
  addresses(name: string): string[] {
    return this.#find(name)?.settings.answers?.at(-1) ?? []
  }

  async listen(): Promise<void> {
    const socket = createSocket('udp4')
    socket.on('message', (message, from) => {
      void this.#answer(message, 'udp').then((reply) => reply && socket.send(reply, from.port, from.address))
    })
    await once(socket.bind(53, ADDRESSES.resolver), 'listening')
    const server = createServer((connection) => {
      let pending = Buffer.alloc(0)
      connection.on('error', () => {})
      connection.on('data', (chunk) => {
        pending = Buffer.concat([pending, chunk])
        while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
          const message = pending.subarray(2, 2 + pending.readUInt16BE(0))
          pending = pending.subarray(2 + message.length)
          void this.#answer(message, 'tcp').then((reply) => {
            if (reply) connection.write(Buffer.concat([Buffer.of(reply.length >> 8, reply.length & 255), reply]))
          })
        }
      })
    })
    await once(server.listen(53, ADDRESSES.resolver), 'listening')
  }

  async #answer(message: Buffer, over: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    let query: Query
    try {
      query = readQuery(message)
    } catch {
      return undefined
    }
    this.#journal.questions.push({ name: query.name, type: query.type, over })
    const found = this.#find(query.name)
    if (found?.settings.failure === 'silent') return undefined
    const reply = this.#reply(query, found)
    if (found?.settings.delayMs) await new Promise((done) => setTimeout(done, found.settings.delayMs))
    return writeReply(query, reply, over === 'tcp' ? 65_535 : query.limit)
  }

  #reply(query: Query, found: Entry | undefined): Reply {
    if (!found) return { code: CODES.NXDOMAIN, addresses: [], ttl: 0 }
    const { answers = [], cname, ttl = 0, failure } = found.settings
    if (failure) return { code: CODES[failure as 'SERVFAIL'], addresses: [], ttl }
    if (cname !== undefined) return { code: CODES.NOERROR, addresses: [], cname, ttl }
    const turn = found.asked.get(query.type) ?? 0
    found.asked.set(query.type, turn + 1)
    const addresses = answers[Math.min(turn, answers.length - 1)] ?? []
    const wanted = addresses.filter((address) => query.type === (isIPv4(address) ? 'A' : 'AAAA'))
    return { code: CODES.NOERROR, addresses: wanted, ttl }
  }

  /** By the name itself, else by `*` in place of its first label. */
  #find(name: string): Entry | undefined {
    return this.#zone.get(name) ?? this.#zone.get(name.replace(/^[^.]+/, '*'))
  }
}
