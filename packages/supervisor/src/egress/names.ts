import { isIPv4 } from 'node:net'
import { NAME_RANGE, RESOLVER_ADDRESS } from '@coppice/protocol/wire'
import { Fifo } from './fifo.ts'

/** Names that have an address at one time. */
const MAX_NAMES = 16_384

/** Milliseconds for which an address is not given to another name: longer than anybody keeps an answer. */
const REST_MS = 10 * 60_000

const [RANGE, LENGTH] = NAME_RANGE.split('/')
const FIRST = toNumber(RANGE as string)
const SIZE = 2 ** (32 - Number(LENGTH))
const RESOLVER = toNumber(RESOLVER_ADDRESS)

/** What an address inside the sandbox stands for. */
export type Meaning =
  | { readonly is: 'name'; readonly name: string }
  /** Of the range of names, but nobody was given it. */
  | { readonly is: 'unknown' }
  /** Not of that range: it is what it says. */
  | { readonly is: 'address' }

/**
 * Which address stands for which name inside the sandbox, both ways. The names used last stay; an address that was given
 * away rests before another name gets it, unless so many names are asked for that none is left.
 */
export class NameTable {
  readonly #now: () => number
  readonly #last: number
  readonly #maxNames: number
  /** Least recently used first. */
  readonly #byName = new Map<string, { address: number; usedAt: number }>()
  #oldest = this.#byName.entries()
  readonly #byAddress = new Map<number, string>()
  /** Addresses that no name has any more, and since when; longest first. */
  readonly #resting = new Fifo<{ address: number; since: number }>()
  /** The first address that no name ever had. */
  #next = FIRST + 1

  /** The parameters are for tests: a clock, and a smaller range, which must have more addresses than names. */
  constructor(now: () => number = () => performance.now(), size: number = SIZE, maxNames: number = MAX_NAMES) {
    this.#now = now
    // The first and the last are those of the network and of everybody in it.
    this.#last = FIRST + size - 2
    this.#maxNames = maxNames
  }

  /** The address of a name, the one that it has or a new one. */
  addressOf(name: string): string {
    const usedAt = this.#now()
    const known = this.#byName.get(name)
    if (known) this.#byName.delete(name)
    else if (this.#byName.size >= this.#maxNames) this.#retireOldest()
    const address = known?.address ?? this.#free(usedAt)
    this.#byName.set(name, { address, usedAt })
    this.#byAddress.set(address, name)
    return toText(address)
  }

  /** What an address in text stands for. It counts as a use of its name. */
  meaningOf(address: string): Meaning {
    if (!isIPv4(address)) return { is: 'address' }
    const number = toNumber(address)
    if (number < FIRST || number > this.#last + 1) return { is: 'address' }
    const name = this.#byAddress.get(number)
    if (name === undefined) return { is: 'unknown' }
    this.addressOf(name)
    return { is: 'name', name }
  }

  #retireOldest(): void {
    // One iterator for good: all names before it are gone, and a new one would have to pass over what they have left.
    let oldest = this.#oldest.next()
    if (oldest.done) {
      this.#oldest = this.#byName.entries()
      oldest = this.#oldest.next()
    }
    if (oldest.done) return
    const [name, { address, usedAt }] = oldest.value
    this.#byName.delete(name)
    this.#byAddress.delete(address)
    this.#resting.push({ address, since: usedAt })
  }

  /** Constant time, however many names a program makes up. */
  #free(now: number): number {
    const rested = this.#resting.peek()
    if (rested && (now - rested.since >= REST_MS || this.#next > this.#last)) {
      this.#resting.shift()
      return rested.address
    }
    if (this.#next === RESOLVER) this.#next += 1
    const address = this.#next
    this.#next += 1
    return address
  }
}

function toNumber(address: string): number {
  return address.split('.').reduce((number, part) => number * 256 + Number(part), 0)
}

function toText(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.')
}
