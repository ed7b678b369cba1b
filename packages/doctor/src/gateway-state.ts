import type { Home } from '@coppice/protocol/home'
import { Coppice, CoppiceError, runningGateway } from '@coppice/sdk'

/** Milliseconds for one answer of a gateway. It takes one. */
const ANSWER_MS = 2_000

/** What is known about the gateway. */
export type GatewayState =
  /** None runs for this home. */
  | { kind: 'none' }
  /** Its process lives and it answers. `local` is false when `COPPICE_URL` names it: nothing of it is on this disk. */
  | { kind: 'running'; url: string; version: string; pid: number | null; local: boolean; date: number | null }
  /** It should be there and does not answer. */
  | { kind: 'silent'; url: string; pid: number | null; local: boolean; error: CoppiceError }

/** Asks the gateway that `COPPICE_URL` or the home names how it is. Starts none. */
export async function findGateway(home: Home, env: NodeJS.ProcessEnv): Promise<GatewayState> {
  if (env.COPPICE_URL) return ask(env.COPPICE_URL.replace(/\/+$/, ''), null, false)
  const record = runningGateway(home.dir)
  return record ? ask(record.url, record.pid, true) : { kind: 'none' }
}

async function ask(url: string, pid: number | null, local: boolean): Promise<GatewayState> {
  const client = new Coppice({ url, token: 'none', boundMs: ANSWER_MS })
  try {
    const { version } = await within(client.health(), ANSWER_MS)
    return { kind: 'running', url, version: String(version), pid, local, date: await dateOf(url) }
  } catch (cause) {
    return { kind: 'silent', url, pid, local, error: CoppiceError.from(cause) }
  } finally {
    client.close()
  }
}

/** The gateway's clock, from its `Date` header, in ms; null when it has none. */
async function dateOf(url: string): Promise<number | null> {
  try {
    const answer = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(ANSWER_MS) })
    await answer.body?.cancel()
    const at = Date.parse(answer.headers.get('date') ?? '')
    return Number.isNaN(at) ? null : at
  } catch {
    return null
  }
}

/** The SDK goes on trying until its bound; a doctor would rather know now. */
function within<T>(work: Promise<T>, ms: number): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => reject(new CoppiceError('deadline_exceeded', 'gateway_slow', `It gave no answer for ${ms} ms.`)),
    ms,
  )
  return Promise.race([work, promise]).finally(() => clearTimeout(timer))
}
