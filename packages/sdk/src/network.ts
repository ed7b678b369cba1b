import {
  type ChangeNetwork,
  CoppiceError,
  type EgressRecord,
  type NetworkPolicy,
  type NetworkState,
  type NetworkSuggestion,
} from '@coppice/protocol/wire'
import type { GatewayConnection } from './connection.ts'
import { lines } from './lines.ts'
import { connectionLost } from './link-failure.ts'
import { query } from './paths.ts'

/**
 * What a sandbox may reach outside: a mode; or a list of rules, which means those alone; or both. A rule is `HOST`, `*.HOST`,
 * `HOST:PORT`, an address or a range of addresses (`10.0.0.0/8`).
 */
export type NetworkOption =
  | 'none'
  | 'public'
  | 'audit'
  | readonly string[]
  | { mode?: NetworkPolicy['mode'] | undefined; allow?: readonly string[] | undefined }

/** The policy that an option stands for. A list without a mode means that nothing else is allowed. */
export function networkPolicy(option: NetworkOption): NetworkPolicy {
  if (typeof option === 'string') return { mode: option, allow: [] }
  if (isList(option)) return { mode: 'allow', allow: [...option] }
  const { mode, allow } = option
  return { mode: mode ?? (allow === undefined ? 'public' : 'allow'), allow: [...(allow ?? [])] }
}

export interface EgressLogOptions {
  /** Only what was refused. */
  denied?: boolean | undefined
  /** Only the newest so many. Default 10,000. */
  limit?: number | undefined
  signal?: AbortSignal | undefined
}

/** What a sandbox may reach outside, and what it did reach. */
export class SandboxNetwork {
  readonly #connection: GatewayConnection
  readonly #path: string

  /** Use `sandbox.network`. */
  constructor(connection: GatewayConnection, sandboxPath: string) {
    this.#connection = connection
    this.#path = sandboxPath
  }

  /** The policy, and counts of what was done under it since the gateway started. */
  get(): Promise<NetworkState> {
    return this.#connection.json({ method: 'GET', path: `${this.#path}/network` }, true)
  }

  /**
   * Another policy, while it runs: the next connection obeys, open ones that it refuses are cut.
   * @throws `invalid_argument/bad_rule`
   */
  set(option: NetworkOption): Promise<NetworkState> {
    return this.change(networkPolicy(option))
  }

  /** Adds rules to the list. The mode stays as it is. */
  allow(...rules: string[]): Promise<NetworkState> {
    return this.change({ add: rules })
  }

  /** Takes rules off the list, as they are written there. The mode stays as it is. */
  deny(...rules: string[]): Promise<NetworkState> {
    return this.change({ remove: rules })
  }

  /** Mode, list, additions and removals in one step. */
  change(change: ChangeNetwork): Promise<NetworkState> {
    return this.#connection.json({ method: 'POST', path: `${this.#path}/network`, json: change }, true)
  }

  /** The smallest allow-list that would have allowed what was used. `set(suggestion.suggested)` makes it so. */
  suggest(): Promise<NetworkSuggestion> {
    return this.#connection.json({ method: 'GET', path: `${this.#path}/network/suggestion` }, true)
  }

  /** What was asked for outside, oldest first. */
  async *log(options: EgressLogOptions = {}): AsyncGenerator<EgressRecord, void, void> {
    const { denied, limit, signal } = options
    const path = `${this.#path}/egress${query({ denied, limit })}`
    const response = await this.#connection.retrying(signal, true, () =>
      this.#connection.send({ method: 'GET', path, signal }),
    )
    try {
      for await (const line of lines(response)) if (line !== '') yield JSON.parse(line) as EgressRecord
    } catch (error) {
      throw error instanceof CoppiceError ? error : connectionLost('the log was cut off', error)
    } finally {
      response.destroy()
    }
  }
}

function isList(option: NetworkOption): option is readonly string[] {
  return Array.isArray(option)
}
