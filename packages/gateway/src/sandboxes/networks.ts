import type { Driver, InterceptPlan } from '@coppice/drivers'
import {
  type ChangeNetwork,
  CoppiceError,
  DEFAULT_INTERCEPT_PORTS,
  INTERCEPT_BASE_PORT,
  MAX_INTERCEPT_PORTS,
  NAME_RANGE,
  type NetworkPolicy,
  type NetworkState,
  PROXY_PORT,
  Progress,
  RESOLVER_ADDRESS,
  RESOLVER_PORT,
  type SupervisorNetwork,
} from '@coppice/protocol'
import { type Egress, interceptPorts, interceptRanges, parseRule } from '../egress/index.ts'
import type { Link } from '../session/link.ts'
import { configHash } from './config-hash.ts'
import type { Directory } from './directory.ts'
import type { Drivers } from './drivers.ts'
import type { SandboxRecord } from './record.ts'
import { Serial } from './serial.ts'

/** Milliseconds that a driver has to lead connections to the supervisor. */
const INTERCEPT_TIMEOUT_MS = 10_000

/** As the schema of a policy has it: what is written must be readable again. */
const MAX_RULES = 1024

/** What each sandbox may reach: kept in its record, told to egress, supervisor and driver. */
export class Networks {
  readonly #directory: Directory
  readonly #drivers: Drivers
  readonly #egress: Egress
  readonly #serial = new Serial()
  readonly #intercepts = new Serial()

  constructor(options: { directory: Directory; drivers: Drivers; egress: Egress }) {
    this.#directory = options.directory
    this.#drivers = options.drivers
    this.#egress = options.egress
  }

  /** A supervisor has dialled in: its programs get what the record says. */
  linked(id: string, link: Link): void {
    const record = this.#directory.peek(id)
    if (!record) return
    this.#egress.open(id, { policy: record.network, name: record.name })
    this.#egress.setNetwork(id, this.supervisorNetwork(record))
    this.#egress.attach(id, link)
  }

  /** What a supervisor listens on. */
  supervisorNetwork(record: SandboxRecord): SupervisorNetwork {
    // Side by side on the host's own loopback, sandboxes cannot all have the same port.
    if (this.#drivers.byName(record.driver).capabilities.network === 'host')
      return { proxyPort: 0, dnsPort: null, intercepts: [] }
    return { proxyPort: PROXY_PORT, dnsPort: RESOLVER_PORT, intercepts: intercepts(record.interceptPorts) }
  }

  /**
   * Leads connections of a running sandbox's programs to its supervisor, by what its record says now. Never fails: what came of
   * it is the answer.
   */
  intercept(driver: Driver, id: string, progress: Progress): Promise<SandboxRecord['transparent']> {
    // One after the other: the plan of a moment ago must not be the last one.
    return this.#intercepts.run(id, async () => {
      try {
        const record = this.#directory.find(id)
        const plan: InterceptPlan = {
          resolver: { address: RESOLVER_ADDRESS, at: RESOLVER_PORT },
          ranges: [NAME_RANGE, ...interceptRanges(record.network)],
          ports: intercepts(record.interceptPorts),
        }
        return await driver.intercept(id, plan, progress)
      } catch (error) {
        return { ok: false, detail: CoppiceError.from(error).message }
      }
    })
  }

  /**
   * Changes a policy: the next connection obeys, open ones that it refuses are cut.
   * @throws `invalid_argument/bad_rule`
   */
  async change(idOrName: string, change: ChangeNetwork): Promise<NetworkState> {
    const { id } = this.#directory.find(idOrName)
    for (const rule of [...(change.allow ?? []), ...(change.add ?? [])]) parseRule(rule)
    return this.#serial.run(id, async () => {
      const record = await this.#directory.update(id, (current) => {
        const network = changed(current.network, change)
        const interceptPorts = withPorts(current.interceptPorts, network)
        return { ...current, network, interceptPorts, configHash: configHash({ ...current, network }) }
      })
      this.#egress.change(id, record.network)
      this.#egress.setNetwork(id, this.supervisorNetwork(record))
      // Also of one that is about to run: its start may have read the policy of before.
      if (record.state === 'running' || record.state === 'creating' || record.state === 'starting') {
        const driver = this.#drivers.byName(record.driver)
        const transparent = await this.intercept(driver, id, new Progress({ timeoutMs: INTERCEPT_TIMEOUT_MS }))
        await this.#directory.update(id, (current) => ({ ...current, transparent }))
      }
      return this.state(id)
    })
  }

  async state(idOrName: string): Promise<NetworkState> {
    const record = await this.#directory.findWhole(idOrName)
    return {
      policy: record.network,
      transparent: record.transparent.ok,
      transparentDetail: record.transparent.detail,
      counts: this.#egress.counts(record.id),
    }
  }
}

/**
 * What a record says about its network when it is made.
 * @throws `invalid_argument/bad_rule`
 */
export function networkFields(
  policy: NetworkPolicy,
): Pick<SandboxRecord, 'network' | 'interceptPorts' | 'transparent'> {
  for (const rule of policy.allow) parseRule(rule)
  return {
    network: policy,
    interceptPorts: withPorts([...DEFAULT_INTERCEPT_PORTS], policy),
    transparent: { ok: false, detail: 'It has not started yet.' },
  }
}

/** Rules are told apart by what they mean, not by how they are written. @throws `invalid_argument/too_many_rules`, `bad_rule` */
function changed(policy: NetworkPolicy, change: ChangeNetwork): NetworkPolicy {
  const meaning = (rule: string) => parseRule(rule).text
  const removed = new Set((change.remove ?? []).map(meaning))
  const rules = new Map<string, string>()
  for (const rule of change.allow ?? policy.allow) if (!removed.has(meaning(rule))) rules.set(meaning(rule), rule)
  for (const rule of change.add ?? []) rules.set(meaning(rule), rule)
  if (rules.size > MAX_RULES) {
    throw new CoppiceError(
      'invalid_argument',
      'too_many_rules',
      `A sandbox may have ${MAX_RULES} rules, not ${rules.size}.`,
      {
        hint: 'coppice network suggest SANDBOX',
      },
    )
  }
  return { mode: change.mode ?? policy.mode, allow: [...rules.values()] }
}

/** Ports are appended and never taken away: one that meant 5432 a moment ago must not mean 22 now. */
function withPorts(present: number[], policy: NetworkPolicy): number[] {
  const ports = present.length > 0 ? present : DEFAULT_INTERCEPT_PORTS
  return [...new Set([...ports, ...interceptPorts(policy)])].slice(0, MAX_INTERCEPT_PORTS)
}

function intercepts(ports: number[]): { port: number; at: number }[] {
  return ports.map((port, index) => ({ port, at: INTERCEPT_BASE_PORT + index }))
}
