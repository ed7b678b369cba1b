import { once } from 'node:events'
import type { ClientHttp2Stream } from 'node:http2'
import { CoppiceError } from '@coppice/protocol'
import type { RelayClient } from './client.ts'
import { pump } from './pump.ts'
import { onEachSession, type RelayCall, type RelayTarget } from './relay.ts'
import { LinkBroken } from './upstream.ts'

/** Headers of a supervisor's answer that a client gets to see. */
const PASSED_HEADERS = ['content-type', 'content-length', 'etag', 'x-coppice-stat'] as const

/**
 * Relays a call whose answer is small or streamed and that carries at most a small body. `repeatable` calls (reads, and
 * what is the same when done twice) go on in the next session as long as no byte of an answer was passed on; others fail
 * typed, because nobody can know whether they were done.
 */
export async function relayCall(
  target: RelayTarget,
  client: RelayClient,
  call: RelayCall,
  repeatable: boolean,
): Promise<void> {
  await onEachSession(target, client, async (start) => {
    try {
      const upstream = start(call)
      const answer = await upstream.answer(target.boundMs)
      const status = answer[':status'] ?? 500
      if (status >= 400) throw await upstream.error()
      const headers: Record<string, string> = { 'cache-control': 'no-store' }
      for (const name of PASSED_HEADERS) if (answer[name] !== undefined) headers[name] = String(answer[name])
      client.response.writeHead(status, headers)
      await pump(upstream, client.response)
    } catch (error) {
      // A stream that breaks half-way destroys the answer: the client sees a cut body, never a short one.
      if (client.response.headersSent) {
        client.response.destroy()
        return
      }
      if (error instanceof LinkBroken && !repeatable) throw unknownOutcome(target.sandboxId)
      throw error
    }
  })
}

/**
 * Relays a streamed body (stdin, an upload) and the acknowledgements that come back meanwhile. The gateway keeps none of the
 * bytes: when the session breaks, the sender is told so and goes on from the offset that the supervisor has.
 */
export async function relayBody(target: RelayTarget, client: RelayClient, call: RelayCall): Promise<void> {
  await onEachSession(target, client, async (start) => {
    const upstream = start(call, false)
    try {
      sendBody(client, upstream.stream)
      const answer = await upstream.answer()
      const status = answer[':status'] ?? 500
      if (status >= 400) throw await upstream.error()
      client.response.writeHead(status, {
        'content-type': String(answer['content-type'] ?? 'application/octet-stream'),
      })
      client.response.flushHeaders()
      for await (const chunk of upstream.chunks()) {
        if (!client.response.write(chunk)) await once(client.response, 'drain', { signal: client.gone })
      }
      client.response.end()
    } catch (error) {
      upstream.cancel()
      throw error instanceof CoppiceError ? error : sessionBroke(target.sandboxId)
    }
  })
}

/**
 * Passes the request's body on. A body that the client cut off must not look like one that ended. Not `pipeline`: that
 * would destroy the client's connection together with the session's stream, and with it the answer that says why.
 */
function sendBody(client: RelayClient, stream: ClientHttp2Stream): void {
  const { request } = client
  request.on('data', (chunk: Buffer) => {
    if (!stream.writable) return
    if (!stream.write(chunk)) request.pause()
  })
  stream.on('drain', () => request.resume())
  stream.once('close', () => request.resume())
  request.once('end', () => stream.end())
  request.once('close', () => {
    // Not `close(NGHTTP2_CANCEL)`: that says END_STREAM first, and what was cut would be taken for whole.
    if (!request.complete && !stream.destroyed) stream.destroy(new Error('the client cut its body off'))
  })
}

function sessionBroke(sandboxId: string): CoppiceError {
  return new CoppiceError(
    'unavailable',
    'session_lost',
    `The session of sandbox ${sandboxId} broke while a body was on its way.`,
    {
      facts: { sandboxId },
      hint: 'Ask for the acknowledged offset and go on from there.',
    },
  )
}

function unknownOutcome(sandboxId: string): CoppiceError {
  return new CoppiceError(
    'unavailable',
    'outcome_unknown',
    `The session of sandbox ${sandboxId} broke before an answer came: the call may have been carried out or not.`,
    { facts: { sandboxId }, retryable: false, hint: 'Look at the state it was to change, then repeat it if needed.' },
  )
}
