import { CoppiceError } from '@coppice/protocol/wire'

/** What bytes can be taken from. Strings are UTF-8. A Node `Readable` is an `AsyncIterable`. */
export type ByteSource = string | Uint8Array | AsyncIterable<string | Uint8Array> | Iterable<string | Uint8Array>

/** Largest piece that is handed on, bytes: pieces of one large buffer are views of it, never copies. */
const PIECE_BYTES = 1024 * 1024
/** Pieces smaller than this are put together, bytes: each costs a system call and a chunk header on its way. */
const GATHERED_BYTES = 64 * 1024

/** The length of a source, when it is known beforehand. */
export function knownLength(source: ByteSource): number | undefined {
  if (typeof source === 'string') return Buffer.byteLength(source)
  return source instanceof Uint8Array ? source.byteLength : undefined
}

/** A source as pieces of at most 1 MiB, pulled. @throws `invalid_argument/not_bytes` on a piece that is neither text nor bytes. */
export async function* pieces(source: ByteSource): AsyncGenerator<Buffer> {
  if (typeof source === 'string' || source instanceof Uint8Array) {
    yield* split(source)
    return
  }
  for await (const part of source) yield* split(part)
}

/** The same bytes in fewer pieces: small ones are put together to 64 KiB, large ones go on as they are. */
export async function* gathered(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let parts: Buffer[] = []
  let bytes = 0
  for await (const piece of source) {
    if (piece.length === 0) continue
    parts.push(piece)
    bytes += piece.length
    if (bytes < GATHERED_BYTES) continue
    yield parts.length === 1 ? piece : Buffer.concat(parts, bytes)
    parts = []
    bytes = 0
  }
  if (bytes > 0) yield Buffer.concat(parts, bytes)
}

/** Bytes or text as pieces of at most 1 MiB: views, not copies. */
export function* split(part: string | Uint8Array): Generator<Buffer> {
  const bytes = asBuffer(part)
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES)
}

/** Text or bytes as a buffer, without a copy where possible. */
export function asBuffer(part: string | Uint8Array): Buffer {
  if (typeof part === 'string') return Buffer.from(part)
  if (part instanceof Uint8Array) return Buffer.from(part.buffer, part.byteOffset, part.byteLength)
  throw new CoppiceError('invalid_argument', 'not_bytes', `Bytes or text were expected, not ${typeof part}.`)
}

/** The same pieces, checked to be `size` bytes together. @throws `invalid_argument/size_mismatch`. */
export async function* exactly(size: number, source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let bytes = 0
  for await (const piece of source) {
    bytes += piece.length
    if (bytes > size) break
    yield piece
  }
  if (bytes === size) return
  throw new CoppiceError(
    'invalid_argument',
    'size_mismatch',
    `The source gives ${bytes < size ? 'less' : 'more'} than it said.`,
    {
      facts: { size },
    },
  )
}

/** The failure of a source as a typed error. */
export function sourceFailed(cause: unknown): CoppiceError {
  if (cause instanceof CoppiceError) return cause
  const detail = cause instanceof Error ? cause.message : String(cause)
  return new CoppiceError('cancelled', 'source_failed', `What was to be sent could not be read: ${detail}`, { cause })
}
