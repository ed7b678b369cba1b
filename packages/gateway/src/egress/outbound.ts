import type { Socket } from 'node:net'
import type { EgressRecord } from '@coppice/protocol'
import type { SandboxLog } from './log/sandbox-log.ts'
import type { Address } from './policy/address.ts'
import { type Host, hostText } from './policy/host.ts'
import type { Decision, Judge } from './policy/judge.ts'
import { type Allowed, decide, type Reached } from './reach.ts'

/** What was asked for, as it goes into records. */
export interface Asked {
  /** Milliseconds since the epoch. */
  at: number
  via: EgressRecord['via']
  exec: string | null
  host: Host
  port: number
}

/** What was asked for, as a record with nothing known yet of what came of it. */
export function recordOf(asked: Asked): Omit<EgressRecord, 'verdict' | 'rule'> {
  const { at, via, exec, host, port } = asked
  return {
    at,
    kind: 'connection',
    exec,
    via,
    name: host.kind === 'name' ? host.name : null,
    address: host.kind === 'address' ? hostText(host) : null,
    port,
    bytesOut: 0,
    bytesIn: 0,
    endedAt: null,
    end: null,
  }
}

/** A connection to the outside: how it is recorded, and whether it may go on. */
export class Outbound {
  readonly socket: Socket
  readonly #asked: Asked
  readonly #address: Address | null
  readonly #decision: Allowed
  readonly #log: SandboxLog
  readonly #id: string
  #end: { at: number; end: string; rule: string | undefined } | undefined

  constructor(asked: Asked, reached: Reached, log: SandboxLog) {
    this.socket = reached.socket
    this.#asked = asked
    this.#address = reached.address
    this.#decision = reached.decision
    this.#log = log
    this.#id = log.opened(() => this.#record())
  }

  get bytesOut(): number {
    return this.socket.bytesWritten
  }

  get bytesIn(): number {
    return this.socket.bytesRead
  }

  /** What a policy says of it now. */
  judged(judge: Judge): Decision {
    const { host, port } = this.#asked
    return decide(judge, host, port, this.#address, [])
  }

  /** It is over. @param deniedBy the rule that it broke by what the program sent on it. */
  ended(end: string, deniedBy?: string): void {
    if (this.#end) return
    this.#end = { at: Date.now(), end, rule: deniedBy }
    this.#log.ended(this.#id)
  }

  #record(): EgressRecord {
    const { verdict, rule } = this.#decision
    return {
      ...recordOf(this.#asked),
      address: this.#address?.text ?? null,
      verdict: this.#end?.rule === undefined ? verdict : 'denied',
      rule: this.#end?.rule ?? rule,
      bytesOut: this.bytesOut,
      bytesIn: this.bytesIn,
      endedAt: this.#end?.at ?? null,
      end: this.#end?.end ?? null,
    }
  }
}
