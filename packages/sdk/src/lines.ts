import { CoppiceError } from '@coppice/protocol/wire'

/** Longest line of JSON that is accepted, bytes. */
const MAX_LINE_BYTES = 1024 * 1024

/** The lines of a body, without their ends. @throws `internal/answer_too_large` */
export async function* lines(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of body) {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    let start = 0
    for (let end = rest.indexOf(10); end !== -1; end = rest.indexOf(10, start)) {
      yield rest.toString('utf8', start, end)
      start = end + 1
    }
    rest = rest.subarray(start)
    if (rest.length > MAX_LINE_BYTES)
      throw new CoppiceError('internal', 'answer_too_large', 'A line of the answer is too long.')
  }
  if (rest.length > 0) yield rest.toString('utf8')
}
