import { promises as dns } from 'node:dns'
import { type Address, parseAddress } from '../policy/address.ts'
import { NameCache } from './name-cache.ts'

/** What came of asking outside for a name. */
export type Resolution =
  | { outcome: 'found'; addresses: readonly Address[] }
  | { outcome: 'no_such_name' }
  | { outcome: 'failed'; detail: string }

/** Addresses used of one answer. More are not tried anyway within the time of a connection. */
const MAX_ADDRESSES = 16

/** Milliseconds that the other family has once one has answered (RFC 8305 gives 50; resolvers behind a session are slower). */
const OTHER_FAMILY_MS = 100

/** Failures are kept so that a retrying program does not wait for the timeout each time, and short so that it recovers. */
const FAILED_SECONDS = 2
const NO_SUCH_NAME_SECONDS = 5

/** Longest that an address is kept, seconds: a name that moves is followed within that. */
const MAX_TTL_SECONDS = 30

/** After a failure, a resolver that is the system's is made anew at most this often: `/etc/resolv.conf` may have changed. */
const RENEW_MS = 10_000

interface TimedAddress {
  address: Address
  ttl: number
}

/** Resolves names outside, for all sandboxes: bounded in time, coalesced, cached for at most 30 s. */
export class Resolver {
  readonly #servers: readonly string[]
  readonly #cache: NameCache<Resolution>
  #resolver: dns.Resolver
  #madeAt = performance.now()

  /** @param servers addresses with or without port; empty: the system's. */
  constructor(servers: readonly string[], cache = new NameCache<Resolution>()) {
    this.#servers = servers
    this.#cache = cache
    this.#resolver = this.#make()
  }

  /** Never rejects. @param name judged before: this is what leaves the host. */
  resolve(name: string): Promise<Resolution> {
    return this.#cache.get(name, () => this.#ask(name))
  }

  close(): void {
    this.#resolver.cancel()
  }

  #make(): dns.Resolver {
    // 2 s and then 4 s: what is not answered by then fails within the time of a connection.
    const resolver = new dns.Resolver({ timeout: 2_000, tries: 2 })
    if (this.#servers.length > 0) resolver.setServers(this.#servers)
    return resolver
  }

  async #ask(name: string): Promise<{ value: Resolution; seconds: number }> {
    // A dot at the end: no search domain is ever tried.
    const query = `${name}.`
    const v4 = this.#family(this.#resolver.resolve4(query, { ttl: true }))
    const v6 = this.#family(this.#resolver.resolve6(query, { ttl: true }))
    const [four, six] = await bothSoon(v4, v6)
    // IPv4 first: what has no IPv6 route then pays nothing; a stuck one is left after 250 ms for the other family.
    const found = [...(four?.found ?? []), ...(six?.found ?? [])]
    if (found.length > 0) {
      const ttl = Math.min(MAX_TTL_SECONDS, ...found.map((one) => one.ttl))
      const addresses = found.slice(0, MAX_ADDRESSES).map((one) => one.address)
      return { value: { outcome: 'found', addresses }, seconds: Math.max(1, ttl) }
    }
    const failure = four?.failure ?? six?.failure
    if (failure === undefined) return { value: { outcome: 'no_such_name' }, seconds: NO_SUCH_NAME_SECONDS }
    this.#renew()
    return { value: { outcome: 'failed', detail: failure }, seconds: FAILED_SECONDS }
  }

  async #family(asked: Promise<{ address: string; ttl: number }[]>): Promise<FamilyAnswer> {
    try {
      const found: TimedAddress[] = (await asked).flatMap(({ address, ttl }) => {
        const parsed = parseAddress(address)
        return parsed ? [{ address: parsed, ttl }] : []
      })
      return { found, failure: undefined }
    } catch (error) {
      const { code = 'EUNKNOWN' } = error as NodeJS.ErrnoException
      return { found: [], failure: code === 'ENOTFOUND' || code === 'ENODATA' ? undefined : code }
    }
  }

  #renew(): void {
    if (this.#servers.length > 0 || performance.now() - this.#madeAt < RENEW_MS) return
    this.#madeAt = performance.now()
    // Questions that are under way end on the old one.
    this.#resolver = this.#make()
  }
}

interface FamilyAnswer {
  found: TimedAddress[]
  /** Undefined also when there are just no addresses. */
  failure: string | undefined
}

/** Both answers, or the one that has addresses when the other takes its time. */
async function bothSoon(
  v4: Promise<FamilyAnswer>,
  v6: Promise<FamilyAnswer>,
): Promise<[FamilyAnswer | undefined, FamilyAnswer | undefined]> {
  const answers: [FamilyAnswer | undefined, FamilyAnswer | undefined] = [undefined, undefined]
  const first = v4.then((answer) => {
    answers[0] = answer
    return answer
  })
  const second = v6.then((answer) => {
    answers[1] = answer
    return answer
  })
  const both = Promise.all([first, second])
  const either = await Promise.race([first, second])
  if (either.found.length === 0) {
    await both
    return answers
  }
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, OTHER_FAMILY_MS)
  })
  await Promise.race([both, late])
  clearTimeout(timer)
  return [...answers]
}
