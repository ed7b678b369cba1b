import type { ClientRequest, IncomingMessage } from 'node:http'
import { CoppiceError, transferStallMs } from '@coppice/protocol/wire'
import type { EngineRequest } from './transport.ts'

/** Bytes that are sent as they are read: never more than a chunk is held. */
export interface RequestBody {
  /** When it is known. What comes must then be exactly as long: the call fails else, and the engine never sees a whole body. */
  sizeBytes?: number
  chunks: AsyncIterable<Uint8Array>
}

/**
 * Sends a request's body. An engine that answers before it has taken all of it has refused: what is left is not sent. A source
 * that fails takes the connection with it.
 */
export async function sendBody(
  outgoing: ClientRequest,
  request: EngineRequest,
  answered: Promise<IncomingMessage>,
): Promise<void> {
  if (!request.body) {
    outgoing.end(request.json === undefined ? undefined : JSON.stringify(request.json))
    return
  }
  let refused = false
  answered.then(
    () => {
      refused = true
    },
    () => {
      refused = true
    },
  )
  const { sizeBytes, chunks } = request.body
  let sent = 0
  for await (const chunk of source(chunks)) {
    if (refused) return
    sent += chunk.length
    if (sizeBytes !== undefined && sent > sizeBytes) throw wrongSize(sizeBytes, sent)
    if (!outgoing.write(chunk)) await drained(outgoing)
  }
  if (sizeBytes !== undefined && sent !== sizeBytes) throw wrongSize(sizeBytes, sent)
  outgoing.end()
}

/** Keeps a source's own failure apart from the connection's. */
async function* source(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* chunks
  } catch (cause) {
    throw CoppiceError.from(cause)
  }
}

/** Not by a race with the answer: what waits for that stays until it comes, a little more for every chunk. */
async function drained(outgoing: ClientRequest): Promise<void> {
  const over = Promise.withResolvers<void>()
  const hungUp = () => over.reject(Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' }))
  const limit = transferStallMs()
  const timer = setTimeout(() => over.reject(stalled(limit)), limit)
  // An answer ends the wait too: nobody takes the rest.
  const listeners = { drain: over.resolve, response: over.resolve, error: over.reject, close: hungUp } as const
  for (const [event, listener] of Object.entries(listeners)) outgoing.on(event, listener)
  try {
    await over.promise
  } finally {
    clearTimeout(timer)
    for (const [event, listener] of Object.entries(listeners)) outgoing.off(event, listener)
  }
}

/** An engine that takes nothing of a body, or says nothing to all of it. */
export function stalled(limit: number): CoppiceError {
  return new CoppiceError(
    'deadline_exceeded',
    'transfer_stalled',
    `The engine has taken nothing and said nothing for ${Math.round(limit / 1000)} s.`,
    { retryable: true, facts: { stallMs: limit }, hint: 'COPPICE_TRANSFER_STALL_SECS=600' },
  )
}

function wrongSize(expected: number, sent: number): CoppiceError {
  return new CoppiceError(
    'conflict',
    'source_changed',
    'What was being sent has another size than it had at the beginning.',
    {
      facts: { expected, sent },
      retryable: true,
    },
  )
}
