import type { OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { CoppiceError, httpStatus } from '@coppice/protocol/wire'
import { requestBody } from './body.ts'

/** JSON bodies are read whole: no more than this, 8 MiB. */
const MAX_JSON_BYTES = 8 * 1024 * 1024

export function respondJson(stream: ServerHttp2Stream, value: unknown, status = 200): void {
  respondBytes(stream, Buffer.from(JSON.stringify(value)), { ':status': status, 'content-type': 'application/json' })
}

/** 204. */
export function respondNothing(stream: ServerHttp2Stream): void {
  if (canRespond(stream)) stream.respond({ ':status': 204 }, { endStream: true })
}

/** The status of the error's code and `{"error": ErrorBody}`; cuts the stream when an answer had already begun. */
export function respondError(stream: ServerHttp2Stream, error: unknown): void {
  const known = CoppiceError.from(error)
  if (canRespond(stream)) respondJson(stream, { error: known.toBody() }, httpStatus(known.code))
  else if (!stream.destroyed) stream.close(INTERNAL_ERROR)
}

/** HTTP/2's INTERNAL_ERROR. */
const INTERNAL_ERROR = 2

function canRespond(stream: ServerHttp2Stream): boolean {
  return !stream.destroyed && !stream.closed && !stream.headersSent
}

function respondBytes(stream: ServerHttp2Stream, body: Buffer, headers: OutgoingHttpHeaders): void {
  if (!canRespond(stream)) return
  stream.respond({ ...headers, 'content-length': body.length })
  stream.end(body)
  // What is left of the request is not wanted, but must not hold the stream open.
  stream.resume()
}

/** Reads a JSON body; an empty one is `{}`. Throws `invalid_argument/malformed_json` and `resource_exhausted/body_too_large`. */
export async function readJson(stream: ServerHttp2Stream): Promise<unknown> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of requestBody(stream)) {
    bytes += chunk.length
    if (bytes > MAX_JSON_BYTES) {
      throw new CoppiceError('resource_exhausted', 'body_too_large', `A JSON body may have ${MAX_JSON_BYTES} bytes.`)
    }
    chunks.push(chunk)
  }
  if (bytes === 0) return {}
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch (cause) {
    throw new CoppiceError('invalid_argument', 'malformed_json', 'The body is not JSON.', { cause })
  }
}
