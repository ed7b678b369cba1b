import type { IncomingMessage, RequestOptions, ServerResponse } from 'node:http'
import type { UpstreamProxy } from '../dial/proxy-settings.ts'
import type { Asked } from '../outbound.ts'
import type { Decision } from '../policy/judge.ts'
import type { Valve } from '../tunnel/valve.ts'
import { MAX_HEAD_BYTES } from './engine.ts'
import { passedOn } from './headers.ts'
import type { Target } from './target.ts'
import type { UpstreamAgent, Wanted } from './upstream-agent.ts'

/** Where an exchange happens: what it needs of its client connection. */
export interface ExchangePlace {
  /** The sandbox, as people call it. */
  readonly called: string
  readonly agent: UpstreamAgent
  readonly valve: Valve
  readonly ahead: () => number
  /** Judges a target and records a refusal. */
  judge(target: Target, request: IncomingMessage): Decision
  /** Records a request that cannot be passed on. */
  unusable(request: IncomingMessage): void
  asked(target: Pick<Target, 'host' | 'port'>, request: IncomingMessage): Asked
  /** The upstream proxy that takes plain requests for the target only as they are; undefined: none. */
  absoluteProxy(target: Target): UpstreamProxy | undefined
  /** Passes an answer of status 1xx on. */
  inform(request: IncomingMessage, response: ServerResponse, status: number, message: string, raw: string[]): void
}

/** Methods of which Node sends no empty body unless told to. */
const BODYLESS = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE'])

export interface ForwardOptions {
  expectsContinue: boolean
  /** The protocol that is asked for, if one is. */
  upgrade?: string
}

/** A request as it leaves: made of what was understood of the one that came. */
export function upstreamOptions(
  place: ExchangePlace,
  request: IncomingMessage,
  target: Target,
  { expectsContinue, upgrade }: ForwardOptions,
): RequestOptions {
  const { method = 'GET' } = request
  const proxy = place.absoluteProxy(target)
  const headers = ['Host', target.authority, ...passedOn(request.rawHeaders)]
  const length = request.headers['content-length']
  if (length !== undefined) headers.push('Content-Length', length)
  else if (request.headers['transfer-encoding'] !== undefined) headers.push('Transfer-Encoding', 'chunked')
  else if (!BODYLESS.has(method)) headers.push('Content-Length', '0')
  if (expectsContinue) headers.push('Expect', '100-continue')
  if (upgrade !== undefined) headers.push('Connection', 'Upgrade', 'Upgrade', upgrade)
  if (proxy?.authorization !== undefined) headers.push('Proxy-Authorization', proxy.authorization)
  const wanted: Wanted = { asked: place.asked(target, request), mode: proxy ? 'absolute' : 'plain' }
  return {
    ...wanted,
    agent: place.agent,
    // Only what kept-alive connections are told apart by.
    host: proxy ? `in-full.${target.authority}` : target.authority,
    port: target.port,
    method,
    path: proxy ? `http://${target.authority}${target.path}` : target.path,
    headers,
    maxHeaderSize: MAX_HEAD_BYTES,
  } as RequestOptions
}
