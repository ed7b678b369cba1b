import type { NetworkPolicy } from '@coppice/protocol'
import type { Address } from './address.ts'
import { AllowList } from './allow-list.ts'
import { classify, EXACT_ONLY, embedded, NEVER } from './classes.ts'
import { type Host, isLocalhost } from './host.ts'

/** What the gateway's host is to its sandboxes. */
export interface OwnPlace {
  /** One of the addresses of this host's interfaces. */
  has(address: Address): boolean
  /** Ports on which the gateway's own API listens. */
  ports(): readonly number[]
}

/** `rule` is the rule that decided, `public`, or a word that says why none could. */
export type Decision =
  | { ok: true; verdict: 'allowed' | 'audit'; rule: string }
  | { ok: false; rule: string; address?: Address }

/** Mail to everywhere is what stolen sandboxes are used for: an explicit rule is needed. */
const MAIL_PORT = 25

/** Judges by one policy. Pure: no state, nothing is resolved here. */
export class Judge {
  readonly policy: NetworkPolicy
  readonly list: AllowList
  readonly #own: OwnPlace

  constructor(policy: NetworkPolicy, own: OwnPlace) {
    this.policy = policy
    this.list = new AllowList(policy.allow)
    this.#own = own
  }

  /** May this name be resolved outside and then be tried? @param port null: on any port (a question to the resolver). */
  name(name: string, port: number | null): Decision {
    const { mode } = this.policy
    if (mode === 'none') return { ok: false, rule: 'none' }
    if (isLocalhost(name)) return { ok: false, rule: 'loopback' }
    const rule = this.list.nameRule(name, port)
    if (rule) return { ok: true, verdict: 'allowed', rule: rule.text }
    if (mode === 'allow') return { ok: false, rule: 'not_listed' }
    if (port === MAIL_PORT) return { ok: false, rule: 'port_25' }
    return { ok: true, verdict: mode === 'audit' ? 'audit' : 'allowed', rule: 'public' }
  }

  /**
   * May this address be dialled? `named`: it is what an allowed name resolved to; then it need not be listed itself, but a place
   * that is not public must be opened by a rule for addresses all the same.
   */
  address(address: Address, port: number | null, named: boolean): Decision {
    const { mode } = this.policy
    if (mode === 'none') return { ok: false, rule: 'none' }
    for (const part of [address, ...embedded(address)]) {
      const refused = this.#place(part, port)
      if (refused) return { ok: false, rule: refused, address }
    }
    const rule = this.list.addressRule(address, port, false)
    if (rule) return { ok: true, verdict: 'allowed', rule: rule.text }
    if (!named && mode === 'allow') return { ok: false, rule: 'not_listed', address }
    if (!named && port === MAIL_PORT) return { ok: false, rule: 'port_25', address }
    return { ok: true, verdict: !named && mode === 'audit' ? 'audit' : 'allowed', rule: 'public' }
  }

  /** The first question of a connection, before anything is resolved. */
  host(host: Host, port: number): Decision {
    return host.kind === 'name' ? this.name(host.name, port) : this.address(host.address, port, false)
  }

  /** A connection as a whole: the host and the address that it led to. */
  connection(host: Host, address: Address, port: number): Decision {
    const byHost = this.host(host, port)
    if (!byHost.ok || host.kind === 'address') return byHost
    const byAddress = this.address(address, port, true)
    if (!byAddress.ok) return byAddress
    // The name was fine with any policy; what let this place be reached is the more telling rule.
    return byHost.rule === 'public' && byAddress.rule !== 'public' ? { ...byHost, rule: byAddress.rule } : byHost
  }

  /** Why the place is closed whatever the host was; undefined: it is not. */
  #place(address: Address, port: number | null): string | undefined {
    const kind = classify(address)
    if (NEVER.has(kind)) return kind
    const own = this.#own.has(address)
    if ((own || kind === 'loopback') && port !== null && this.#own.ports().includes(port)) return 'gateway_api'
    const exactOnly = own || EXACT_ONLY.has(kind)
    if (!exactOnly && kind === 'public') return undefined
    if (this.list.addressRule(address, port, exactOnly)) return undefined
    return own && !EXACT_ONLY.has(kind) ? 'gateway_address' : kind
  }
}
