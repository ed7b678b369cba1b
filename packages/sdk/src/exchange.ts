import { once } from 'node:events'
import type { ClientRequest, IncomingMessage } from 'node:http'
import type { GatewayConnection, GatewayRequest } from './connection.ts'

/**
 * Sends a streamed body that cannot be resumed and reads the answer while it is sent: neither side waits for the other. An
 * answer that is finished before the body is (a refusal, mostly) ends the sending.
 *
 * @throws what the source throws, after the request was cut so that it does not look complete; else what `read` or the link throws
 */
export async function exchange<T>(
  connection: GatewayConnection,
  request: GatewayRequest,
  source: AsyncIterable<Buffer>,
  read: (response: IncomingMessage) => Promise<T>,
): Promise<T> {
  const headers = { 'content-type': 'application/octet-stream', ...request.headers }
  const open = connection.open({ ...request, headers })
  const over = new AbortController()
  open.once('close', () => over.abort())
  // The answer ends when the body has been dealt with, however long that takes.
  const answer = connection.answer(open, { ...request, answerMs: 0 }).then(read)
  let fault: { error: unknown } | undefined
  sendAll(open, source, over.signal).catch((error: unknown) => {
    fault = { error }
    open.destroy()
  })
  try {
    return await answer
  } catch (error) {
    throw fault ? fault.error : error
  } finally {
    over.abort()
    if (!open.writableFinished) open.destroy()
  }
}

async function sendAll(open: ClientRequest, source: AsyncIterable<Buffer>, over: AbortSignal): Promise<void> {
  for await (const piece of source) {
    if (over.aborted) return
    if (!open.write(piece)) await once(open, 'drain', { signal: over }).catch(() => {})
  }
  if (!over.aborted) open.end()
}
