import { networkInterfaces } from 'node:os'
import { type Address, parseAddress } from './address.ts'
import type { OwnPlace } from './judge.ts'

/** Interfaces come and go; reading them takes 0.1 ms, too much for each connection. */
const REREAD_MS = 2_000

/** The addresses of this host, read again when they are older than two seconds. */
export class OwnAddresses implements OwnPlace {
  readonly ports: () => readonly number[]
  #texts = new Set<string>()
  #readAt = Number.NEGATIVE_INFINITY

  constructor(ports: () => readonly number[]) {
    this.ports = ports
  }

  has(address: Address): boolean {
    const now = performance.now()
    if (now - this.#readAt > REREAD_MS) {
      this.#readAt = now
      this.#texts = new Set(
        Object.values(networkInterfaces()).flatMap((entries) =>
          (entries ?? []).flatMap((entry) => parseAddress(entry.address.split('%')[0] ?? '')?.text ?? []),
        ),
      )
    }
    return this.#texts.has(address.text)
  }
}
