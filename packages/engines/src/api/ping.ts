import type { Progress } from '@coppice/protocol/wire'
import type { Transport } from '../http/transport.ts'

/** Milliseconds that a ping may take: it asks for nothing but a sign of life. */
export const PING_TIMEOUT_MS = 5000

/** The head of an engine's answer to nothing. Throws what `Transport.send` does. */
export async function ping(transport: Transport, progress: Progress): Promise<Record<string, unknown>> {
  const { headers, body } = await transport.send(
    { method: 'GET', path: '/_ping', timeoutMs: PING_TIMEOUT_MS },
    progress,
  )
  body.destroy()
  return headers
}
