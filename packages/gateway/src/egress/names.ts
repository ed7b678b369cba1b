import type { EgressTell } from '@coppice/protocol'
import type { Attachment } from './control/attachment.ts'
import { recordOf } from './outbound.ts'
import { type Host, parseHost } from './policy/host.ts'
import type { SandboxEgress } from './sandbox.ts'
import { nameDenial } from './words.ts'

type Outcome = Extract<EgressTell, { t: 'name' }>['outcome']

interface Answer {
  outcome: Outcome
  verdict: 'allowed' | 'audit' | 'denied' | 'failed'
  rule: string
  message: string
  /** Goes into the record. */
  host: Host | undefined
  address: string | null
}

/** Names that a sandbox's programs ask for. A look-up is egress: a name that is not allowed is never asked for outside. */
export class Names {
  readonly #sandbox: SandboxEgress
  #pending = 0

  constructor(sandbox: SandboxEgress) {
    this.#sandbox = sandbox
  }

  /** Answers by a tell, always. */
  lookUp(id: number, name: string, from: Attachment): void {
    const at = Date.now()
    const settle = (answer: Answer) => {
      this.#record(at, answer)
      from.tell({ t: 'name', id, outcome: answer.outcome, message: answer.message })
    }
    const { maxNames } = this.#sandbox.shared.limits
    if (this.#pending >= maxNames) {
      const message = `${maxNames} names are being looked up already.`
      settle({ outcome: 'failed', verdict: 'denied', rule: 'limit', message, host: undefined, address: null })
      return
    }
    this.#pending += 1
    this.#answer(name)
      .catch((): Answer => {
        const message = 'The gateway failed.'
        return { outcome: 'failed', verdict: 'failed', rule: 'internal', message, host: undefined, address: null }
      })
      .then((answer) => {
        this.#pending -= 1
        settle(answer)
      })
  }

  async #answer(text: string): Promise<Answer> {
    const host = parseHost(text)
    if (host?.kind !== 'name') {
      const message = 'That is not a name.'
      return { outcome: 'no_such_name', verdict: 'denied', rule: 'bad_name', message, host, address: null }
    }
    const { name } = host
    const decision = this.#sandbox.judge.name(name, null)
    const denied = (rule: string, address: string | null): Answer => {
      return { outcome: 'denied', verdict: 'denied', rule, message: nameDenial(name, rule), host, address }
    }
    if (!decision.ok) return denied(decision.rule, null)
    const { resolver, proxies } = this.#sandbox.shared
    const resolution = await resolver.resolve(name)
    const { verdict, rule } = decision
    if (resolution.outcome === 'found') {
      const { judge } = this.#sandbox
      const judged = resolution.addresses.map((address) => ({ address, decision: judge.address(address, null, true) }))
      const [first] = judged
      if (first && !first.decision.ok && judged.every((one) => !one.decision.ok)) {
        return denied(first.decision.rule, first.address.text)
      }
      return { outcome: 'exists', verdict, rule, message: '', host, address: null }
    }
    // What an upstream proxy resolves by itself may well be unknown here.
    if (proxies.for(host, 443, false)) return { outcome: 'exists', verdict, rule, message: '', host, address: null }
    if (resolution.outcome === 'no_such_name') {
      const message = `There is no ${name}.`
      return { outcome: 'no_such_name', verdict: 'failed', rule, message, host, address: null }
    }
    const message = `${name} could not be resolved (${resolution.detail}).`
    return { outcome: 'failed', verdict: 'failed', rule, message, host, address: null }
  }

  #record(at: number, { outcome, verdict, rule, host, address }: Answer): void {
    const { counters, log } = this.#sandbox
    if (verdict === 'denied') counters.denied += 1
    if (verdict === 'failed') counters.failed += 1
    const unread: Host = { kind: 'name', name: '' }
    const base = recordOf({ at, via: 'dns', exec: null, host: host ?? unread, port: 0 })
    const name = host ? base.name : null
    const end = rule === 'limit' ? 'limit' : outcome === 'exists' ? null : outcome
    log.happened({
      ...base,
      kind: 'name',
      name,
      address: base.address ?? address,
      port: null,
      verdict,
      rule,
      end,
      endedAt: Date.now(),
    })
  }
}
