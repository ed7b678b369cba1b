import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { GatewayConnection, GatewayRequest } from './connection.ts'

/**
 * Sends a streamed body that cannot be resumed (an archive). The answer may start while the body is on its way.
 *
 * @throws what the source throws, after the request was cut so that it does not look complete; a typed error otherwise.
 */
export async function sendBody(
  connection: GatewayConnection,
  request: GatewayRequest,
  source: AsyncIterable<Buffer>,
): Promise<IncomingMessage> {
  const headers = { 'content-type': 'application/octet-stream', ...request.headers }
  const open = connection.open({ ...request, headers })
  const closed = new AbortController()
  open.once('close', () => closed.abort())
  // The answer comes when the body has been dealt with, however long that takes.
  const answer = connection.answer(open, { ...request, answerMs: 0 })
  // A refusal ends the sending: nobody reads the rest for its own sake.
  answer.catch(() => open.destroy())
  try {
    for await (const piece of source) {
      if (closed.signal.aborted) break
      if (!open.write(piece)) await once(open, 'drain', { signal: closed.signal }).catch(() => {})
    }
    open.end()
  } catch (error) {
    open.destroy()
    throw error
  }
  return answer
}
