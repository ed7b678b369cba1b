import type { Readable } from 'node:stream'
import { CoppiceError } from '@coppice/protocol/wire'

/** Bytes of a JSON answer. A list of 10,000 containers has about 15 MB. */
export const MAX_JSON_BYTES = 64 * 1024 * 1024

/** Bytes of one line of a stream of JSON lines. */
const MAX_LINE_BYTES = 1024 * 1024

/** All of a body, which must not be longer than `maxBytes`. Throws `unavailable/answer_too_large`. */
export async function collect(body: AsyncIterable<Buffer>, maxBytes: number): Promise<Buffer> {
  const parts: Buffer[] = []
  let length = 0
  for await (const chunk of body) {
    parts.push(chunk)
    length += chunk.length
    if (length > maxBytes) throw tooLarge(maxBytes)
  }
  return Buffer.concat(parts)
}

/** As much of a body as comes within `withinMs`, at most `maxBytes`; it is destroyed then. Never throws. */
export async function beginning(body: Readable, maxBytes: number, withinMs: number): Promise<string> {
  const parts: Buffer[] = []
  let length = 0
  const timer = setTimeout(() => body.destroy(), withinMs)
  try {
    for await (const chunk of body) {
      parts.push(chunk as Buffer)
      length += (chunk as Buffer).length
      if (length >= maxBytes) break
    }
  } catch {
    // What has come is better than nothing.
  } finally {
    clearTimeout(timer)
    body.destroy()
  }
  return Buffer.concat(parts).subarray(0, maxBytes).toString('utf8')
}

/** The lines of a stream, without their ends and without empty ones. Bounded: a line that is too long ends it. */
export async function* lines(body: AsyncIterable<Buffer>, maxBytes = MAX_LINE_BYTES): AsyncGenerator<string> {
  let held: Buffer[] = []
  let length = 0
  for await (const chunk of body) {
    let from = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      held.push(chunk.subarray(from, end))
      const line = Buffer.concat(held).toString('utf8').trim()
      held = []
      length = 0
      from = end + 1
      if (line !== '') yield line
    }
    held.push(chunk.subarray(from))
    length += chunk.length - from
    if (length > maxBytes) throw tooLarge(maxBytes)
  }
  const last = Buffer.concat(held).toString('utf8').trim()
  if (last !== '') yield last
}

/** The objects of a stream of JSON lines; what is no object is left out. */
export async function* jsonLines(
  body: AsyncIterable<Buffer> | Readable,
  maxLineBytes?: number,
): AsyncGenerator<Record<string, unknown>> {
  for await (const line of lines(body as AsyncIterable<Buffer>, maxLineBytes)) {
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      continue
    }
    if (value !== null && typeof value === 'object') yield value as Record<string, unknown>
  }
}

function tooLarge(maxBytes: number): CoppiceError {
  return new CoppiceError('unavailable', 'answer_too_large', `An engine's answer is longer than ${maxBytes} bytes.`, {
    retryable: false,
    facts: { maxBytes },
  })
}
