import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Attachment } from '../control/attachment.ts'
import type { UpstreamProxy } from '../dial/proxy-settings.ts'
import { execId } from '../exec-id.ts'
import type { Asked } from '../outbound.ts'
import type { Decision } from '../policy/judge.ts'
import type { SandboxEgress } from '../sandbox.ts'
import { denial } from '../words.ts'
import type { ExchangePlace } from './forward.ts'
import { passedOn, rawHead, valuesOf } from './headers.ts'
import type { Target } from './target.ts'
import { UpstreamAgent } from './upstream-agent.ts'

/** What the exchanges of one client connection have in common: policy, records, connections outside. */
export class ClientPlace implements ExchangePlace {
  readonly agent: UpstreamAgent
  readonly #sandbox: SandboxEgress
  readonly #from: Attachment
  readonly #exec: string | null

  /** @param exec as the supervisor said; a request may say it itself. */
  constructor(sandbox: SandboxEgress, from: Attachment, exec: string | null, gone: AbortSignal) {
    this.#sandbox = sandbox
    this.#from = from
    this.#exec = exec
    this.agent = new UpstreamAgent(sandbox, gone)
  }

  get called(): string {
    return this.#sandbox.called
  }

  get valve() {
    return this.#from.valve
  }

  get ahead() {
    return this.#sandbox.ahead
  }

  judge(target: Target, request: IncomingMessage): Decision {
    const decision = this.#sandbox.judge.host(target.host, target.port)
    if (!decision.ok) {
      const refusal = denial(this.called, target.host, target.port, decision)
      this.#sandbox.refused(this.asked(target, request), refusal)
    }
    return decision
  }

  unusable(request: IncomingMessage): void {
    this.refusedUnread('malformed_request', this.#execOf(request))
  }

  asked({ host, port }: Pick<Target, 'host' | 'port'>, request: IncomingMessage): Asked {
    return {
      at: Date.now(),
      via: request.method === 'CONNECT' ? 'connect' : 'http',
      exec: this.#execOf(request),
      host,
      port,
    }
  }

  absoluteProxy({ host, port }: Target): UpstreamProxy | undefined {
    const proxy = this.#sandbox.shared.proxies.for(host, port, true)
    return proxy?.plainInFull ? proxy : undefined
  }

  inform(request: IncomingMessage, response: ServerResponse, status: number, message: string, raw: string[]): void {
    // A response that waits behind another has no socket yet; one of HTTP/1.0 knows of no such answers.
    if (request.httpVersionMinor < 1 || response.headersSent || !response.socket) return
    response.socket.write(rawHead(`HTTP/1.1 ${status} ${message}`, passedOn(raw)))
  }

  /** Records something of which it cannot be said where it was to go. */
  refusedUnread(rule: string, exec = this.#exec): void {
    this.#sandbox.refusedUnread({ via: 'http', exec, port: null, rule, end: 'denied' })
  }

  #execOf(request: IncomingMessage): string | null {
    const [value = ''] = valuesOf(request.rawHeaders, 'proxy-authorization')
    const [, encoded = ''] = /^basic ([A-Za-z0-9+/=]{1,200})$/i.exec(value) ?? []
    const [user = ''] = Buffer.from(encoded, 'base64').toString('latin1').split(':')
    return execId(user) ?? this.#exec
  }
}
