import type { Socket } from 'node:net'
import type { EgressRefusal } from '@coppice/protocol'
import { DialFailed, dialAddresses } from './dial/dial.ts'
import { ConnectRefused, dialProxy, dialThrough } from './dial/proxied.ts'
import type { ProxySettings, UpstreamProxy } from './dial/proxy-settings.ts'
import { type Address, parseAddress } from './policy/address.ts'
import { type Host, hostPort, hostText } from './policy/host.ts'
import type { Decision, Judge } from './policy/judge.ts'
import type { FailureKind } from './refusal.ts'
import type { Resolution, Resolver } from './resolve/resolver.ts'
import { cutSocket } from './tunnel/cut-socket.ts'
import { denial } from './words.ts'

export type Allowed = Decision & { ok: true }

/** A connection that stands. */
export interface Reached {
  socket: Socket
  /** Null: an upstream proxy dialled, and resolved by itself. */
  address: Address | null
  decision: Allowed
}

/** Thrown when it does not: what the program is told, and what the record says. */
export class NotReached extends Error {
  override readonly name = 'NotReached'
  readonly refusal: EgressRefusal
  readonly verdict: 'denied' | 'failed'
  readonly address: string | null
  /** `end` of the record. */
  readonly end: string

  constructor(refusal: EgressRefusal, facts: { verdict: 'denied' | 'failed'; address: string | null; end: string }) {
    super(refusal.message)
    this.refusal = refusal
    this.verdict = facts.verdict
    this.address = facts.address
    this.end = facts.end
  }
}

/**
 * `plain`: for an HTTP request that can also be given to an upstream proxy in full. `absolute`: it will be, the connection is to
 * the proxy itself.
 */
export type ReachMode = 'tunnel' | 'plain' | 'absolute'

/** Thrown for `plain`: the upstream proxy does not let itself be tunnelled through for this. Try again with `absolute`. */
export class UseAbsolute extends Error {
  override readonly name = 'UseAbsolute'
}

export interface ReachContext {
  /** As the sandbox is called in hints. */
  sandbox: string
  /** The present one: policies change while names are resolved and addresses dialled. */
  judge: () => Judge
  resolver: Resolver
  proxies: ProxySettings
  connectMs: number
}

/** Milliseconds for looking up a name that an upstream proxy will resolve anyway: many gateways behind one have no resolver. */
const RESOLVE_BEFORE_PROXY_MS = 1_000

/**
 * Judges, resolves, judges what came of it, and dials exactly that.
 *
 * @throws NotReached, UseAbsolute, or what the signal was aborted with
 */
export async function reach(
  context: ReachContext,
  host: Host,
  port: number,
  mode: ReachMode,
  signal: AbortSignal,
): Promise<Reached> {
  const { judge, connectMs } = context
  const first = judge().host(host, port)
  if (!first.ok) throw denied(context, host, port, first)
  const proxy = context.proxies.for(host, port, mode !== 'tunnel')
  const addresses = await placesOf(context, host, port, first, proxy !== undefined, signal)
  const options = { timeoutMs: connectMs, signal }
  let socket: Socket
  try {
    if (!proxy) socket = await dialAddresses(addresses, port, options)
    else if (mode === 'absolute') socket = await dialProxy(proxy, options)
    else socket = await dialThrough(proxy, host, port, options)
  } catch (error) {
    if (proxy && mode === 'plain' && refusesTunnels(error)) throw useAbsolute(proxy)
    if (!(error instanceof DialFailed)) throw error
    throw failed(host, port, first.rule, error.kind, error.message, addresses[0]?.text ?? null, error)
  }
  const address = proxy ? null : (parseAddress(socket.remoteAddress ?? '') ?? null)
  const decision = decide(judge(), host, port, address, addresses)
  if (!decision.ok) {
    cutSocket(socket)
    throw denied(context, host, port, decision)
  }
  return { socket, address, decision }
}

/** Proxies refuse CONNECT to port 80 with all of these; others are about the place that was asked for. */
function refusesTunnels(error: unknown): boolean {
  return error instanceof ConnectRefused && [400, 403, 404, 405, 501].includes(error.status)
}

function useAbsolute(proxy: UpstreamProxy): UseAbsolute {
  proxy.plainInFull = true
  return new UseAbsolute()
}

/** By the present policy: may a connection that stands go on? */
export function decide(
  judge: Judge,
  host: Host,
  port: number,
  address: Address | null,
  resolved: readonly Address[],
): Decision {
  if (address) return judge.connection(host, address, port)
  const byHost = judge.host(host, port)
  if (!byHost.ok || host.kind === 'address' || resolved.length === 0) return byHost
  const byAddress = resolved.map((one) => judge.address(one, port, true))
  return byAddress.some(({ ok }) => ok) ? byHost : (byAddress[0] ?? byHost)
}

/** The addresses that may be dialled; none when only a proxy can tell. */
async function placesOf(
  context: ReachContext,
  host: Host,
  port: number,
  first: Allowed,
  proxied: boolean,
  signal: AbortSignal,
): Promise<readonly Address[]> {
  if (host.kind === 'address') return [host.address]
  const timeoutMs = proxied ? RESOLVE_BEFORE_PROXY_MS : context.connectMs
  const resolution = await within(context.resolver.resolve(host.name), timeoutMs, signal)
  if (resolution.outcome !== 'found') {
    if (proxied) return []
    if (resolution.outcome === 'no_such_name') {
      throw failed(host, port, first.rule, 'no_such_name', 'there is no such name', null)
    }
    const detail = `the name could not be resolved (${resolution.detail})`
    throw failed(host, port, first.rule, resolution.detail === 'ETIMEOUT' ? 'timeout' : 'unreachable', detail, null)
  }
  const judge = context.judge()
  const again = judge.name(host.name, port)
  if (!again.ok) throw denied(context, host, port, again)
  const judged = resolution.addresses.map((address) => ({ address, decision: judge.address(address, port, true) }))
  const open = judged.filter(({ decision }) => decision.ok).map(({ address }) => address)
  const [refused] = judged
  if (open.length === 0 && refused && !refused.decision.ok) throw denied(context, host, port, refused.decision)
  return open
}

async function within(asked: Promise<Resolution>, ms: number, signal: AbortSignal): Promise<Resolution> {
  const { promise, resolve, reject } = Promise.withResolvers<Resolution>()
  const timer = setTimeout(() => resolve({ outcome: 'failed', detail: 'ETIMEOUT' }), ms)
  const onAbort = () => reject(signal.reason)
  if (signal.aborted) onAbort()
  signal.addEventListener('abort', onAbort, { once: true })
  asked.then(resolve, reject)
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', onAbort)
  }
}

function denied(context: ReachContext, host: Host, port: number, decision: Decision & { ok: false }): NotReached {
  const address = decision.address?.text ?? (host.kind === 'address' ? hostText(host) : null)
  const refusal = denial(context.sandbox, host, port, decision)
  return new NotReached(refusal, { verdict: 'denied', address, end: 'denied' })
}

function failed(
  host: Host,
  port: number,
  rule: string,
  kind: FailureKind | 'limit',
  detail: string,
  address: string | null,
  cause?: DialFailed,
): NotReached {
  const refusal: EgressRefusal = {
    kind,
    rule,
    message: `${hostPort(host, port)} was not reached: ${detail}.`,
    hint: 'The policy allows it; the trouble is outside of the sandbox.',
  }
  const error = new NotReached(refusal, { verdict: 'failed', address, end: kind })
  if (cause) error.cause = cause
  return error
}
