import { type CoppiceError, CoppiceError as Failure, Progress } from '@coppice/protocol'
import type { SessionHub } from '../session/hub.ts'
import type { RelayClient } from './client.ts'
import { LinkBroken, Upstream } from './upstream.ts'

/** What a relay needs to know about the sandbox behind a call. */
export interface RelayTarget {
  sandboxId: string
  hub: SessionHub
  /** How long a call waits for the next session, milliseconds. */
  boundMs: number
}

/** A call as it goes to the supervisor. */
export interface RelayCall {
  method: string
  /** With query. */
  path: string
  headers: Record<string, string>
  /** A body that is held, and can be sent again. Streamed bodies go another way (`relayBody`). */
  body?: Buffer
}

/** Runs `attempt` on the present session and, while it says the session broke, on the next one, within the bound. */
export async function onEachSession<T>(
  target: RelayTarget,
  client: RelayClient,
  attempt: (start: (call: RelayCall, endStream?: boolean) => Upstream) => Promise<T>,
): Promise<T> {
  const progress = new Progress({ signal: client.gone })
  for (;;) {
    // Most calls find a session: they must not pay for the timers of waiting.
    const link = target.hub.current(target.sandboxId) ?? (await waitForLink(target, client, progress))
    let upstream: Upstream | undefined
    const onGone = () => upstream?.cancel()
    client.gone.addEventListener('abort', onGone, { once: true })
    try {
      return await attempt((call, endStream = true) => {
        const headers = { ':method': call.method, ':path': call.path, ...call.headers }
        upstream = new Upstream(link, headers, endStream && call.body === undefined)
        if (call.body !== undefined) upstream.stream.end(call.body)
        return upstream
      })
    } catch (error) {
      upstream?.cancel()
      progress.throwIfEnded()
      if (!(error instanceof LinkBroken)) throw error
      // A single stream can break on a session that lives (a supervisor's fault): not a reason to spin.
      if (link.alive) throw streamBroken(target.sandboxId)
    } finally {
      client.gone.removeEventListener('abort', onGone)
    }
  }
}

async function waitForLink(target: RelayTarget, client: RelayClient, progress: Progress) {
  const stopHeartbeats = client.heartbeats()
  try {
    return await target.hub.link(target.sandboxId, target.boundMs, progress)
  } finally {
    stopHeartbeats()
  }
}

function streamBroken(sandboxId: string): CoppiceError {
  return new Failure('unavailable', 'stream_broken', `The supervisor of sandbox ${sandboxId} broke off its answer.`, {
    facts: { sandboxId },
    hint: `coppice logs ${sandboxId}`,
  })
}
