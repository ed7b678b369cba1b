import { finished, type Readable } from 'node:stream'

/** Bytes that a chunk has at least, but for the last. */
const CHUNK_BYTES = 256 * 1024

/** Bytes that one read of a socket may add. */
const READ_BYTES = 64 * 1024

/**
 * A body of gigabytes in chunks of about 256 KiB. **A chunk is the reader's until it asks for the next**: two buffers take turns.
 *
 * HTTP gives pieces of 20 to 60 KiB in a fresh buffer each, and reading a stream joins what has come to a further one: garbage of
 * three times the body, faster than it is collected. Here a piece is dead as soon as it was copied.
 */
export async function* gathered(body: Readable): AsyncGenerator<Buffer> {
  const buffers = [Buffer.allocUnsafeSlow(CHUNK_BYTES + READ_BYTES), Buffer.allocUnsafeSlow(CHUNK_BYTES + READ_BYTES)]
  const pieces: Buffer[] = []
  let bytes = 0
  let ended = false
  let failure: unknown
  let wake = (): void => {}
  const forget = finished(body, { writable: false }, (error) => {
    ended = true
    failure = error
    wake()
  })
  body.on('data', (piece: Buffer) => {
    pieces.push(piece)
    bytes += piece.length
    if (bytes < CHUNK_BYTES) return
    body.pause()
    wake()
  })
  try {
    for (let turn = 0; ; turn = 1 - turn) {
      while (!ended && bytes < CHUNK_BYTES) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      if (failure) throw failure
      if (bytes === 0) return
      const chunk = joined(pieces, bytes, buffers[turn] as Buffer)
      pieces.length = 0
      bytes = 0
      if (!ended) body.resume()
      yield chunk
    }
  } finally {
    forget()
    body.destroy()
  }
}

function joined(pieces: Buffer[], bytes: number, into: Buffer): Buffer {
  if (bytes > into.length) return Buffer.concat(pieces)
  let at = 0
  for (const piece of pieces) at += piece.copy(into, at)
  return into.subarray(0, bytes)
}
