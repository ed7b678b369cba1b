import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { ProgressEvent } from '@coppice/protocol/wire'
import { counted } from './byte-count.ts'
import { abortError } from './cancellation.ts'
import { connectionLost } from './link-failure.ts'

/** Told about a body as it comes. */
export interface BodyProgress {
  message: string
  onProgress: (event: ProgressEvent) => void
}

/** A body that cannot be resumed, as a stream: it ends when it is whole, and fails with `unavailable/connection_lost` when it was cut. */
export function bodyStream(response: IncomingMessage, progress?: BodyProgress, signal?: AbortSignal): Readable {
  const length = Number(response.headers['content-length'] ?? Number.NaN)
  const total = Number.isFinite(length) ? length : undefined
  const chunks = bytes(response, signal)
  const source = progress ? counted(chunks, progress.message, total, progress.onProgress) : chunks
  return Readable.from(source, { objectMode: false, highWaterMark: 1024 * 1024 })
}

async function* bytes(response: IncomingMessage, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of response) yield chunk as Buffer
  } catch (error) {
    if (signal?.aborted) throw abortError(signal)
    throw connectionLost('the answer was cut off', error)
  }
}
