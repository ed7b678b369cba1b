import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { ProgressEvent } from '@coppice/protocol/wire'
import { counted } from './byte-count.ts'
import { connectionLost } from './link-failure.ts'

/** Told about a body as it comes. */
export interface BodyProgress {
  message: string
  onProgress: (event: ProgressEvent) => void
}

/** A body that cannot be resumed, as a stream: it ends when it is whole, and fails with `unavailable/connection_lost` when it was cut. */
export function bodyStream(response: IncomingMessage, progress?: BodyProgress): Readable {
  const length = Number(response.headers['content-length'] ?? Number.NaN)
  const total = Number.isFinite(length) ? length : undefined
  const source = progress ? counted(bytes(response), progress.message, total, progress.onProgress) : bytes(response)
  return Readable.from(source, { objectMode: false, highWaterMark: 1024 * 1024 })
}

async function* bytes(response: IncomingMessage): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of response) yield chunk as Buffer
  } catch (error) {
    throw connectionLost('the answer was cut off', error)
  }
}
