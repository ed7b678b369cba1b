import type { IncomingMessage } from 'node:http'
import { CoppiceError, type ImageEvent, type ImageInfo, type ProgressEvent } from '@coppice/protocol/wire'
import { abortError } from './cancellation.ts'
import { lines } from './lines.ts'
import { connectionLost } from './link-failure.ts'

/** What work on images tells while it goes on, and what ends it. */
export interface ImageWork {
  onProgress?: ((event: ProgressEvent) => void) | undefined
  signal?: AbortSignal | undefined
}

/** The same for work that builds. */
export interface BuildWork extends ImageWork {
  /** Told each line of the builder's log. */
  onLog?: ((line: string) => void) | undefined
}

/** What was done besides: bytes moved, blobs that were there, the staged file. */
export type ImageFacts = Record<string, unknown>

/** An image that was brought in, and what had to be done for it. */
export interface BroughtImage extends ImageInfo {
  facts: ImageFacts
}

/** Passes events on until the last one. @throws the error event, `cancelled`, or a link failure when the answer was cut. */
export async function imageOutcome(
  response: IncomingMessage,
  work: BuildWork,
): Promise<{ image: ImageInfo | null; facts: ImageFacts }> {
  for await (const event of imageEvents(response, work.signal)) {
    if (event.event === 'done') return { image: event.image, facts: event.facts ?? {} }
    if (event.event === 'error') throw CoppiceError.fromBody(event.error)
    if (event.event === 'log') {
      work.onLog?.(event.line)
      continue
    }
    const { event: _, ...progress } = event
    work.onProgress?.(progress)
  }
  throw connectionLost('the answer ended before its last line')
}

/** The same where the outcome is an image. */
export async function broughtImage(response: IncomingMessage, work: BuildWork): Promise<BroughtImage> {
  const { image, facts } = await imageOutcome(response, work)
  if (image) return { ...image, facts }
  throw new CoppiceError('internal', 'malformed_answer', 'The gateway said that it was done, and named no image.')
}

async function* imageEvents(response: IncomingMessage, signal: AbortSignal | undefined): AsyncGenerator<ImageEvent> {
  const source = lines(response)
  try {
    for (;;) {
      const next = await source.next().catch((error: unknown) => {
        if (signal?.aborted) throw abortError(signal)
        throw error instanceof CoppiceError ? error : connectionLost('the progress was cut off', error)
      })
      if (next.done) return
      yield eventOf(next.value)
    }
  } finally {
    // The connection can be used again only when nothing is left in it.
    response.resume()
  }
}

function eventOf(line: string): ImageEvent {
  try {
    return JSON.parse(line) as ImageEvent
  } catch (cause) {
    throw new CoppiceError('internal', 'malformed_answer', 'A line of the answer is no JSON.', { cause })
  }
}
