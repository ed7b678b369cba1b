import type { ServerHttp2Stream } from 'node:http2'

/**
 * The body of a request, chunk by chunk. Unlike plain iteration, leaving the loop early does not cut the stream: the answer can
 * still say why. Throws when the stream is cut before the body's end.
 */
export function requestBody(stream: ServerHttp2Stream): AsyncIterable<Buffer> {
  return { [Symbol.asyncIterator]: () => stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer> }
}

/** True when the body did not come to its own end. */
export function isCut(stream: ServerHttp2Stream): boolean {
  return stream.aborted || stream.destroyed
}
