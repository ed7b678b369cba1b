import { createHash } from 'node:crypto'

/** Length of a piece, bytes. Each piece begins with its number, so that lost, doubled and swapped ones are found. */
const PIECE = 64 * 1024

const FILLING = ((): Buffer => {
  const filling = Buffer.alloc(PIECE)
  let state = createHash('sha256').update('deterministic').digest()
  for (let at = 0; at < PIECE; at += state.length) {
    state.copy(filling, at)
    state = createHash('sha256').update(state).digest()
  }
  return filling
})()

/** Bytes `from` to `to` (exclusive) of the one endless file that everybody serves, piece by piece. */
export function* bytes(from: number, to: number): Generator<Buffer> {
  for (let at = from; at < to; ) {
    const index = Math.floor(at / PIECE)
    const piece = Buffer.from(FILLING)
    piece.writeBigUInt64LE(BigInt(index))
    const start = at - index * PIECE
    const end = Math.min(PIECE, to - index * PIECE)
    yield piece.subarray(start, end)
    at += end - start
  }
}

/** SHA-256, in hex, of the first `length` bytes of it. */
export function bytesDigest(length: number): string {
  const hash = createHash('sha256')
  for (const piece of bytes(0, length)) hash.update(piece)
  return hash.digest('hex')
}
