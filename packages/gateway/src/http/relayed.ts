import { CoppiceError, newExecId, newKey, type ResolvedExecSpec, type Route } from '@coppice/protocol'
import { relayBody, relayCall } from '../relay/body.ts'
import { RelayClient } from '../relay/client.ts'
import { relayOutput } from '../relay/output.ts'
import type { RelayCall, RelayTarget } from '../relay/relay.ts'
import type { Sandboxes } from '../sandboxes/sandboxes.ts'
import type { Call } from './app.ts'
import { isOn } from './input.ts'

const JSON_HEADERS = { 'content-type': 'application/json' }

/** Answers the calls that a sandbox's supervisor answers. */
export function relayTo(sandboxes: Sandboxes): (route: Route, call: Call) => Promise<void> {
  return async (route, call) => {
    const target = sandboxes.target(call.params.sandbox ?? '')
    call.reply.hijack()
    const client = new RelayClient(call.request.raw, call.reply.raw)
    try {
      await relay(sandboxes, target, client, route, call)
    } catch (error) {
      const failure = CoppiceError.from(error)
      if (failure.code === 'internal') call.reply.log.error({ err: error, route: route.id }, 'a relayed call failed')
      client.fail(failure)
    }
  }
}

async function relay(
  sandboxes: Sandboxes,
  target: RelayTarget,
  client: RelayClient,
  route: Route,
  call: Call,
): Promise<void> {
  const inner = innerPath(call.request.raw.url ?? '')
  const onOutput = (payload: Buffer) => sandboxes.recordOutput(target.sandboxId, payload)
  const from = Number(call.query.from ?? 0)
  if (route.id === 'startExec') {
    const spec = withIdentity(call.body as ResolvedExecSpec)
    const body = Buffer.from(JSON.stringify(spec))
    const again = (offset: number): RelayCall => ({
      method: 'POST',
      path: withQuery(inner, 'from', offset),
      headers: JSON_HEADERS,
      body,
    })
    if (!isOn(call.query.detach)) await relayOutput(target, client, from, again, onOutput)
    else await relayCall(target, client, again(from), true)
    return
  }
  if (route.answer === 'frames' && route.body === undefined) {
    const again = (offset: number): RelayCall => ({
      method: route.method,
      path: withQuery(inner, 'from', offset),
      headers: {},
    })
    await relayOutput(target, client, from, again, onOutput)
    return
  }
  const headers = passedHeaders(call)
  if (route.body === 'bytes') {
    await relayBody(target, client, { method: route.method, path: inner, headers })
    return
  }
  const plain: RelayCall = { method: route.method, path: inner, headers }
  if (call.body !== undefined)
    Object.assign(plain, { headers: { ...headers, ...JSON_HEADERS }, body: Buffer.from(JSON.stringify(call.body)) })
  await relayCall(target, client, plain, route.method !== 'POST')
}

/** Id and key are fixed before the first try, so that a second one attaches to what the first has started. */
function withIdentity(spec: ResolvedExecSpec): ResolvedExecSpec {
  return { ...spec, id: spec.id ?? newExecId(), key: spec.key ?? newKey() }
}

/** `/v1/sandboxes/X/execs?…` without its first three parts. The rest stays as it was written: paths may be any bytes. */
function innerPath(url: string): string {
  return url.replace(/^\/v1\/sandboxes\/[^/?]+/, '')
}

/** Sets one parameter of a query without touching the bytes of the others. */
function withQuery(path: string, name: string, value: number): string {
  const [folder = '', query = ''] = path.split(/\?(.*)/s)
  const others = query.split('&').filter((part) => part !== '' && !part.startsWith(`${name}=`))
  return `${folder}?${[...others, `${name}=${value}`].join('&')}`
}

function passedHeaders(call: Call): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const name of ['if-match', 'content-type', 'content-length'] as const) {
    const value = call.request.headers[name]
    if (value !== undefined && (name === 'if-match' || call.body === undefined)) headers[name] = value
  }
  return headers
}
