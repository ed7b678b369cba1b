import type { Dialect } from '../dialect.ts'
import { streamFault } from '../http/faults.ts'

/** A tar archive ends with two blocks of zeros. */
const END_BYTES = 1024

/**
 * Passes an archive on that an engine makes, and fails when it ends before its end. An engine that meets an error in the middle has
 * said "success" already: it writes the error as a line of JSON where the rest of the archive should be, and ends in good order.
 *
 * @throws `failed_precondition/engine_failed` with the engine's words, `resource_exhausted/engine_disk_full`
 */
export async function* wholeArchive(
  chunks: AsyncIterable<Buffer>,
  call: string,
  dialect: Dialect,
): AsyncGenerator<Buffer> {
  let tail = Buffer.alloc(0)
  for await (const chunk of chunks) {
    // A copy: the chunk is the reader's only until it asks for the next.
    tail = Buffer.concat([tail, chunk.subarray(-END_BYTES)]).subarray(-END_BYTES)
    yield chunk
  }
  if (tail.length === END_BYTES && tail.every((byte) => byte === 0)) return
  throw streamFault(lastWords(tail) ?? 'the archive ended before its end', call, dialect)
}

function lastWords(tail: Buffer): string | undefined {
  const line = /\{"(?:errorDetail|error|message|cause)":.*\}\s*$/.exec(tail.toString('utf8'))?.[0]
  if (line === undefined) return undefined
  try {
    const { error, message, cause } = JSON.parse(line) as Record<string, unknown>
    const said = error ?? message ?? cause
    return typeof said === 'string' ? said : undefined
  } catch {
    return undefined
  }
}
