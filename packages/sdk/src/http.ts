import type { IncomingMessage } from 'node:http'
import { CoppiceError } from '@coppice/protocol/wire'
import { connectionLost } from './link-failure.ts'

/** Longest error body that is read, bytes. */
const MAX_ERROR_BYTES = 1024 * 1024

/**
 * `import` of node:http would also load the WebSocket and fetch implementation behind its lazy exports, 25 ms at start;
 * asking for the module object does not.
 */
export function httpModule(protocol: string): typeof import('node:http') {
  return protocol === 'https:'
    ? (process.getBuiltinModule('node:https') as unknown as typeof import('node:http'))
    : process.getBuiltinModule('node:http')
}

/** A whole body. @throws `internal/answer_too_large`, or a link failure when it is cut. */
export async function readWhole(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > maxBytes) {
        throw new CoppiceError('internal', 'answer_too_large', `The gateway answered with more than ${maxBytes} bytes.`)
      }
    }
  } catch (error) {
    throw error instanceof CoppiceError ? error : connectionLost('its answer was cut off', error)
  }
  return Buffer.concat(chunks, bytes)
}

/** The typed error that a failed answer carries. */
export async function readError(response: IncomingMessage): Promise<CoppiceError> {
  const text = (await readWhole(response, MAX_ERROR_BYTES)).toString('utf8')
  try {
    return CoppiceError.fromBody((JSON.parse(text) as { error: unknown }).error)
  } catch {
    const status = response.statusCode ?? 0
    return new CoppiceError(
      'internal',
      'not_a_gateway',
      `The answer (HTTP ${status}) is not one of a Coppice gateway.`,
      {
        facts: { status, body: text.slice(0, 200) },
        hint: 'Look at COPPICE_URL.',
      },
    )
  }
}
