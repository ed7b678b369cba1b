import { finished, type Readable } from 'node:stream'

const CHUNK_BYTES = 256 * 1024

/** One that is being filled, two that wait, one with the reader: 1 MiB in all. */
const BUFFERS = 4

/**
 * A body of gigabytes in chunks of 256 KiB, the last one shorter. **A chunk is the reader's until it asks for the next**: four
 * buffers take turns.
 *
 * HTTP gives pieces of 20 to 60 KiB in a fresh buffer each, and reading a stream joins what has come to a further one: garbage of
 * three times the body, faster than it is collected. Here a piece is dead as soon as it was copied. Measured on 1 GiB: 1.0 s of
 * processor time instead of 1.7.
 */
export async function* gathered(body: Readable): AsyncGenerator<Buffer> {
  const free = Array.from({ length: BUFFERS }, () => Buffer.allocUnsafeSlow(CHUNK_BYTES))
  const full: Buffer<ArrayBuffer>[] = []
  let filling = free.pop()
  let filled = 0
  let rest: Buffer | undefined
  let ended = false
  let failure: unknown
  let wake = (): void => {}
  const take = (piece: Buffer): void => {
    for (let at = 0; at < piece.length; ) {
      if (!filling) {
        rest = piece.subarray(at)
        body.pause()
        return
      }
      const copied = piece.copy(filling, filled, at)
      at += copied
      filled += copied
      if (filled < CHUNK_BYTES) continue
      full.push(filling)
      filling = free.pop()
      filled = 0
      wake()
    }
  }
  const giveBack = (chunk: Buffer<ArrayBuffer>): void => {
    if (filling) {
      free.push(chunk)
      return
    }
    filling = chunk
    const piece = rest
    rest = undefined
    if (piece) take(piece)
    if (!rest) body.resume()
  }
  const forget = finished(body, { writable: false }, (error) => {
    ended = true
    failure = error
    wake()
  })
  body.on('data', take)
  try {
    for (;;) {
      while (full.length === 0 && !ended) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      if (failure) throw failure
      const chunk = full.shift()
      if (!chunk) break
      yield chunk
      giveBack(chunk)
    }
    if (filling && filled > 0) yield filling.subarray(0, filled)
  } finally {
    forget()
    body.destroy()
  }
}
