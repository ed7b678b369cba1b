import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { connectionLost } from './link-failure.ts'

/** A body that cannot be resumed, as a stream: it ends when it is whole, and fails with `unavailable/connection_lost` when it was cut. */
export function bodyStream(response: IncomingMessage): Readable {
  return Readable.from(bytes(response), { objectMode: false, highWaterMark: 1024 * 1024 })
}

async function* bytes(response: IncomingMessage): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of response) yield chunk as Buffer
  } catch (error) {
    throw connectionLost('the answer was cut off', error)
  }
}
