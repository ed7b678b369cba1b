import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { EgressCounts, EgressRecord, NetworkPolicy, NetworkSuggestion, SupervisorNetwork } from '@coppice/protocol'
import { Counts } from './counts.ts'
import { ProxySettings } from './dial/proxy-settings.ts'
import { HttpEngine } from './http/engine.ts'
import { DEFAULT_LIMITS, type EgressLimits } from './limits.ts'
import { SandboxLog } from './log/sandbox-log.ts'
import { OwnAddresses } from './policy/own-addresses.ts'
import { Resolver } from './resolve/resolver.ts'
import { SandboxEgress, type Shared } from './sandbox.ts'
import type { SessionLink } from './session-link.ts'
import { suggest } from './suggest.ts'

export interface EgressOptions {
  /** Folder that holds one folder of records per sandbox. */
  dir: string
  config: Pick<EgressLimits, 'maxConnections' | 'connectMs' | 'idleMs'> &
    Partial<EgressLimits> & {
      /** Name servers, `ADDRESS` or `ADDRESS:PORT`; empty: the system's. */
      resolvers: readonly string[]
    }
  /** Ports of the gateway's own API: never reached on this host's addresses, whatever a policy says. */
  ownPorts: () => readonly number[]
  /** Has the proxy variables that the gateway itself obeys. */
  env: NodeJS.ProcessEnv
  log: (message: string, facts: Record<string, unknown>) => void
}

export interface RecordsOptions {
  /** Only what was refused. */
  denied?: boolean
  /** Only the newest so many. */
  limit?: number
}

/** Stuck connections are looked for this often, at most and at least, milliseconds. */
const SWEEP_MAX_MS = 2_000
const SWEEP_MIN_MS = 20

/**
 * The way out of all sandboxes: judges, resolves, dials, records. Sandboxes have no network; their supervisors ask here, over
 * their sessions. Nothing that comes from a sandbox is believed, and nothing that it does throws from here.
 */
export class Egress {
  readonly #dir: string
  readonly #shared: Shared
  readonly #sandboxes = new Map<string, SandboxEgress>()
  readonly #logs = new Map<string, SandboxLog>()
  readonly #counts = new Map<string, Counts>()
  readonly #resolver: Resolver
  readonly #sweeping: NodeJS.Timeout

  constructor({ dir, config, ownPorts, env, log }: EgressOptions) {
    const { resolvers, ...configured } = config
    const limits: EgressLimits = { ...DEFAULT_LIMITS, ...configured }
    this.#dir = dir
    this.#resolver = new Resolver(resolvers)
    this.#shared = {
      limits,
      resolver: this.#resolver,
      proxies: new ProxySettings(env, (variable) => log('a proxy variable cannot be read', { variable })),
      own: new OwnAddresses(ownPorts),
      engine: new HttpEngine(),
      log,
    }
    const shortest = Math.min(limits.firstBytesMs, limits.idleMs, limits.halfOpenMs)
    const every = Math.max(SWEEP_MIN_MS, Math.min(SWEEP_MAX_MS, shortest / 4))
    this.#sweeping = setInterval(() => this.#sweep(), every).unref()
  }

  /** A sandbox is there. One that was there already gets the policy and the name, as by `change`. */
  open(sandboxId: string, { policy, name }: { policy: NetworkPolicy; name: string | null }): void {
    const known = this.#sandboxes.get(sandboxId)
    if (known) {
      known.change(policy, name)
      return
    }
    const counters = this.#counts.get(sandboxId) ?? new Counts()
    this.#counts.set(sandboxId, counters)
    const log = this.#log(sandboxId)
    const sandbox = new SandboxEgress({ id: sandboxId, name, policy, shared: this.#shared, log, counters })
    this.#sandboxes.set(sandboxId, sandbox)
  }

  /** A link is up: offers the way out on it until it ends. Never throws. */
  attach(sandboxId: string, link: SessionLink): void {
    this.#sandboxes.get(sandboxId)?.attach(link)
  }

  /** From now on; what is open and not allowed any more is cut. */
  change(sandboxId: string, policy: NetworkPolicy): void {
    this.#sandboxes.get(sandboxId)?.change(policy)
  }

  /** What a supervisor listens on; told at once where a link is up, and on each new one. */
  setNetwork(sandboxId: string, network: SupervisorNetwork): void {
    this.#sandboxes.get(sandboxId)?.setNetwork(network)
  }

  /** Since the gateway started. */
  counts(sandboxId: string): EgressCounts {
    const sandbox = this.#sandboxes.get(sandboxId)
    return sandbox?.counts ?? (this.#counts.get(sandboxId) ?? new Counts()).with(0, [])
  }

  /** Records, oldest first, with what is open as it is now. Also of a sandbox that has ended. */
  records(sandboxId: string, { denied, limit }: RecordsOptions = {}): AsyncGenerator<EgressRecord> {
    return this.#log(sandboxId).read({ denied, limit })
  }

  /** The same as lines of JSON. */
  lines(sandboxId: string, options: RecordsOptions = {}): Readable {
    const records = this.records(sandboxId, options)
    return Readable.from(linesOf(records), { objectMode: false })
  }

  /** The smallest allow-list that would have allowed what the records say was used. */
  suggest(sandboxId: string, present: NetworkPolicy): Promise<NetworkSuggestion> {
    return suggest(this.records(sandboxId), present)
  }

  /** The sandbox has ended: cuts everything. Its records stay. */
  release(sandboxId: string): void {
    const sandbox = this.#sandboxes.get(sandboxId)
    if (!sandbox) return
    this.#sandboxes.delete(sandboxId)
    sandbox.close('ended')
  }

  /** The sandbox is remembered no more: its records are removed. */
  forget(sandboxId: string): void {
    this.release(sandboxId)
    this.#counts.delete(sandboxId)
    const log = this.#log(sandboxId)
    this.#logs.delete(sandboxId)
    log.remove().catch((error: unknown) => this.#shared.log('egress records were not removed', { sandboxId, error }))
  }

  /** Cuts everything. Resolves when all records are written. */
  async close(): Promise<void> {
    clearInterval(this.#sweeping)
    for (const id of [...this.#sandboxes.keys()]) {
      this.#sandboxes.get(id)?.close('gateway_stopping')
      this.#sandboxes.delete(id)
    }
    this.#resolver.close()
    await Promise.all([...this.#logs.values()].map((log) => log.close()))
  }

  #log(sandboxId: string): SandboxLog {
    let log = this.#logs.get(sandboxId)
    if (!log) {
      log = new SandboxLog(join(this.#dir, sandboxId))
      this.#logs.set(sandboxId, log)
    }
    return log
  }

  #sweep(): void {
    const now = performance.now()
    for (const sandbox of this.#sandboxes.values()) sandbox.sweep(now)
  }
}

/** Records that leave as one piece. */
const RECORDS_A_PIECE = 100

async function* linesOf(records: AsyncIterable<EgressRecord>): AsyncGenerator<string> {
  let piece: string[] = []
  for await (const record of records) {
    piece.push(`${JSON.stringify(record)}\n`)
    if (piece.length < RECORDS_A_PIECE) continue
    yield piece.join('')
    piece = []
  }
  if (piece.length > 0) yield piece.join('')
}
