import type { EgressAsk, EgressCounts, EgressRefusal, NetworkPolicy, SupervisorNetwork } from '@coppice/protocol'
import type { Connection } from './connection.ts'
import { Attachment } from './control/attachment.ts'
import type { Counts } from './counts.ts'
import type { ProxySettings } from './dial/proxy-settings.ts'
import { execId } from './exec-id.ts'
import type { HttpEngine } from './http/engine.ts'
import { HttpConnection } from './http/http-connection.ts'
import { aheadBytes, type EgressLimits } from './limits.ts'
import type { SandboxLog } from './log/sandbox-log.ts'
import { Names } from './names.ts'
import { type Asked, Outbound, recordOf } from './outbound.ts'
import { parseHost } from './policy/host.ts'
import { Judge, type OwnPlace } from './policy/judge.ts'
import { NotReached, type Reached, type ReachMode, reach } from './reach.ts'
import type { Resolver } from './resolve/resolver.ts'
import type { SessionLink } from './session-link.ts'
import { TunnelConnection } from './tunnel/tunnel-connection.ts'
import { BAD_NAME, tooMany } from './words.ts'

/** What all sandboxes share. */
export interface Shared {
  limits: EgressLimits
  resolver: Resolver
  proxies: ProxySettings
  own: OwnPlace
  engine: HttpEngine
  log: (message: string, facts: Record<string, unknown>) => void
}

type OpenAsk = Extract<EgressAsk, { t: 'open' }>

/** The way out of one sandbox: its policy, its connections, its records. */
export class SandboxEgress {
  readonly id: string
  readonly shared: Shared
  readonly counters: Counts
  readonly connections = new Set<Connection>()
  readonly log: SandboxLog
  readonly #names: Names
  readonly #outbound = new Set<Outbound>()
  #name: string | null
  #judge: Judge
  #network: SupervisorNetwork | undefined
  #attachment: Attachment | undefined

  constructor(options: {
    id: string
    name: string | null
    policy: NetworkPolicy
    shared: Shared
    log: SandboxLog
    counters: Counts
  }) {
    this.id = options.id
    this.shared = options.shared
    this.log = options.log
    this.counters = options.counters
    this.#name = options.name
    this.#judge = new Judge(options.policy, options.shared.own)
    this.#names = new Names(this)
  }

  /** As people call it. */
  get called(): string {
    return this.#name ?? this.id
  }

  get judge(): Judge {
    return this.#judge
  }

  get counts(): EgressCounts {
    return this.counters.with(this.connections.size, this.#outbound)
  }

  /** From now on. What is open and not allowed any more is cut. */
  change(policy: NetworkPolicy, name = this.#name): void {
    this.#name = name
    if (JSON.stringify(policy) === JSON.stringify(this.#judge.policy)) return
    this.#judge = new Judge(policy, this.shared.own)
    for (const connection of [...this.connections]) connection.rejudge(this.#judge)
  }

  setNetwork(network: SupervisorNetwork): void {
    this.#network = network
    this.#attachment?.tell({ t: 'network', network })
  }

  get network(): SupervisorNetwork | undefined {
    return this.#network
  }

  attach(link: SessionLink): void {
    this.#attachment?.end()
    this.#attachment = new Attachment(link, this)
  }

  /** A program wants a connection. @returns undefined when it was refused */
  open(ask: OpenAsk, from: Attachment): Connection | undefined {
    const exec = execId(ask.exec)
    const { maxConnections } = this.shared.limits
    const host = ask.via === 'http' ? undefined : parseHost(ask.host)
    const base = { at: Date.now(), via: ask.via, exec, port: ask.port }
    if (this.connections.size >= maxConnections) {
      const refusal = tooMany(maxConnections)
      if (host) this.refused({ ...base, host }, refusal)
      else this.refusedUnread({ ...base, port: null, rule: 'limit', end: 'limit' })
      from.tell({ t: 'refused', id: ask.id, error: refusal })
      return undefined
    }
    if (ask.via === 'http') return new HttpConnection(this, from, ask.id, exec)
    if (!host || ask.port === 0) {
      this.refusedUnread({ ...base, rule: 'bad_name', end: 'denied' })
      from.tell({ t: 'refused', id: ask.id, error: BAD_NAME })
      return undefined
    }
    return new TunnelConnection(this, from, ask.id, { ...base, host })
  }

  /** A program asks for a name. */
  lookUp(id: number, name: string, from: Attachment): void {
    this.#names.lookUp(id, name, from)
  }

  /** Judges, resolves and dials. @throws NotReached, which is recorded; UseAbsolute; what the signal was aborted with */
  async reach(asked: Asked, mode: ReachMode, signal: AbortSignal): Promise<Outbound> {
    const { resolver, proxies, limits } = this.shared
    const context = { sandbox: this.called, judge: () => this.#judge, resolver, proxies, connectMs: limits.connectMs }
    try {
      return this.#reached(asked, await reach(context, asked.host, asked.port, mode, signal))
    } catch (error) {
      if (error instanceof NotReached) this.#notReached(asked, error)
      throw error
    }
  }

  /** A connection to the outside is over. */
  ended(outbound: Outbound, end: string, deniedBy?: string): void {
    if (!this.#outbound.delete(outbound)) return
    outbound.ended(end, deniedBy)
    this.counters.add(outbound)
    if (deniedBy === undefined) return
    this.counters.denied += 1
    this.counters.connections -= 1
  }

  /** Something was refused that was never tried. */
  refused(asked: Asked, { kind, rule }: EgressRefusal): void {
    this.counters.denied += 1
    const end = kind === 'limit' ? 'limit' : 'denied'
    this.log.happened({ ...recordOf(asked), verdict: 'denied', rule, endedAt: asked.at, end })
  }

  /** Something was refused of which it cannot even be said what it was for. */
  refusedUnread(facts: {
    via: Asked['via']
    exec: string | null
    port: number | null
    rule: string
    end: string
  }): void {
    this.counters.denied += 1
    const at = Date.now()
    const unknown = { at, kind: 'connection', name: null, address: null, bytesOut: 0, bytesIn: 0, endedAt: at } as const
    this.log.happened({ ...unknown, ...facts, verdict: 'denied' })
  }

  /** Bytes that may wait on one connection now. */
  readonly ahead = (): number => aheadBytes(this.connections.size)

  sweep(now: number): void {
    for (const connection of [...this.connections]) connection.sweep(now)
  }

  /** Cuts everything. */
  close(end: string): void {
    for (const connection of [...this.connections]) connection.cut(end)
    this.#attachment?.end()
    this.#attachment = undefined
  }

  #reached(asked: Asked, reached: Reached): Outbound {
    const outbound = new Outbound(asked, reached, this.log)
    this.#outbound.add(outbound)
    this.counters.connections += 1
    return outbound
  }

  #notReached(asked: Asked, { verdict, address, refusal, end }: NotReached): void {
    if (verdict === 'denied') this.counters.denied += 1
    else this.counters.failed += 1
    this.log.happened({ ...recordOf(asked), address, verdict, rule: refusal.rule, endedAt: Date.now(), end })
  }
}
