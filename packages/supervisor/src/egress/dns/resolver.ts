import type { NameOutcome } from '../asks.ts'
import type { NameTable } from '../names.ts'
import {
  type DnsAnswer,
  DnsCode,
  type DnsQuery,
  DnsType,
  EDE_PROHIBITED,
  encodeAnswer,
  encodeName,
  encodeRefusal,
  parseQuery,
} from './message.ts'

/** Seconds that an answer may be kept. Much shorter than an address rests before it gets another name. */
const TTL_SECONDS = 60

/** Names that the gateway is being asked for at one time; queries that wait for them. */
const MAX_PENDING_NAMES = 256
const MAX_PENDING_QUERIES = 1024

const OK: DnsAnswer = { code: DnsCode.ok }
const NO_SUCH_NAME: DnsAnswer = { code: DnsCode.noSuchName }
const FAILED: DnsAnswer = { code: DnsCode.serverFailure }

/** Asks the gateway for a name. Never rejects. */
export type AskName = (name: string) => Promise<{ outcome: NameOutcome; message: string }>

/**
 * Answers the sandbox's questions for names: names that exist, and may be reached, get an address of the table. The gateway
 * sees nothing of a question but its name, and that only if it is asked for an address.
 */
export class Resolver {
  readonly #names: NameTable
  readonly #ask: AskName
  readonly #pending = new Map<string, Promise<{ outcome: NameOutcome; message: string }>>()
  #queries = 0

  constructor(names: NameTable, ask: AskName) {
    this.#names = names
    this.#ask = ask
  }

  /** The answer to a message; undefined when it deserves none. Never rejects. */
  async answer(message: Buffer): Promise<Buffer | undefined> {
    const query = parseQuery(message)
    if (query === undefined) return undefined
    if (!('question' in query)) return encodeRefusal(query)
    if (this.#queries >= MAX_PENDING_QUERIES) return encodeAnswer(query, FAILED)
    this.#queries += 1
    try {
      return encodeAnswer(query, await this.#resolve(query))
    } finally {
      this.#queries -= 1
    }
  }

  async #resolve(query: DnsQuery): Promise<DnsAnswer> {
    if (query.edns && query.edns.version > 0) return { code: DnsCode.badVersion }
    const { type } = query
    const name = nameOf(query.labels)
    if (name === undefined) return NO_SUCH_NAME
    if (name === 'localhost' || name.endsWith('.localhost')) return loopback(type)
    if (type === DnsType.PTR) return this.#reverse(name)
    if (type !== DnsType.A && type !== DnsType.AAAA) return OK
    const { outcome, message } = await this.#asked(name)
    if (outcome === 'exists') return type === DnsType.A ? found(ipv4(this.#names.addressOf(name))) : OK
    if (outcome === 'denied') return { ...NO_SUCH_NAME, extended: { info: EDE_PROHIBITED, text: message } }
    return outcome === 'no_such_name' ? NO_SUCH_NAME : FAILED
  }

  /** Both kinds of addresses are asked for at once by most: that is one question to the gateway. */
  #asked(name: string): Promise<{ outcome: NameOutcome; message: string }> {
    const known = this.#pending.get(name)
    if (known) return known
    if (this.#pending.size >= MAX_PENDING_NAMES) {
      return Promise.resolve({ outcome: 'failed', message: `${MAX_PENDING_NAMES} names are being asked for.` })
    }
    const asked = this.#ask(name).finally(() => this.#pending.delete(name))
    this.#pending.set(name, asked)
    return asked
  }

  #reverse(name: string): DnsAnswer {
    const [, reversed] = /^((?:\d{1,3}\.){4})in-addr\.arpa$/.exec(name) ?? []
    const address = reversed?.split('.').slice(0, 4).reverse().join('.')
    if (address === undefined) return NO_SUCH_NAME
    if (address === '127.0.0.1') return found(encodeName('localhost'))
    const meaning = this.#names.meaningOf(address)
    return meaning.is === 'name' ? found(encodeName(meaning.name)) : NO_SUCH_NAME
  }
}

/**
 * A question's name in lower case, without a dot at its end. Undefined for what no host is called: a dot within a label would
 * make it look like another name.
 */
function nameOf(labels: readonly Buffer[]): string | undefined {
  const name = labels.map((label) => label.toString('latin1').toLowerCase())
  return name.length > 0 && name.every((label) => /^[a-z0-9_-]+$/.test(label)) ? name.join('.') : undefined
}

function loopback(type: number): DnsAnswer {
  if (type === DnsType.A) return found(ipv4('127.0.0.1'))
  return type === DnsType.AAAA ? found(Buffer.from([...Buffer.alloc(15), 1])) : OK
}

function found(record: Buffer | undefined): DnsAnswer {
  return record ? { code: DnsCode.ok, record, ttl: TTL_SECONDS } : NO_SUCH_NAME
}

function ipv4(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number))
}
