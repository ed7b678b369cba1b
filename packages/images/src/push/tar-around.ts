import { CoppiceError } from '@coppice/protocol/wire'
import { BLOCK, encodeHeader, paddedSize } from '../tar/header.ts'

/** One file as a tar archive that is made while it is read. */
export interface TarAround {
  /** Bytes of the whole archive. */
  sizeBytes: number
  chunks: AsyncGenerator<Buffer>
}

/**
 * Wraps a file whose size is known: header, its bytes as they come, padding, two blocks of zeros. O(chunk) memory, no second copy.
 * Bytes that turn out to be more or fewer than said are an error of the stream before the archive could look whole.
 *
 * @param name at most 100 bytes
 * @throws `conflict/source_changed` from the chunks
 */
export function tarAround(name: string, size: number, content: AsyncIterable<Uint8Array>): TarAround {
  return { sizeBytes: BLOCK + paddedSize(size) + 2 * BLOCK, chunks: wrap(name, size, content) }
}

async function* wrap(name: string, size: number, content: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  yield encodeHeader({ name, type: '0', size })
  let passed = 0
  for await (const chunk of content) {
    passed += chunk.length
    if (passed > size) throw changed(size, passed)
    yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  }
  if (passed !== size) throw changed(size, passed)
  yield Buffer.alloc(paddedSize(size) - size + 2 * BLOCK)
}

function changed(expected: number, found: number): CoppiceError {
  return new CoppiceError('conflict', 'source_changed', 'The image changed its size while it was being sent.', {
    facts: { expected, found },
    retryable: true,
  })
}
