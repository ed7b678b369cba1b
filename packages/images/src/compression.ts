import type { Duplex } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { throwAway } from './bulk/garbage.ts'
import { badArchive } from './faults.ts'

/** How a file or blob is packed, as its first bytes say. */
export type Compression = 'none' | 'gzip' | 'zstd'

/** Bytes that are needed to tell. */
export const MAGIC_BYTES = 6

/** Throws `unsupported_compression` for what is recognised and cannot be read. */
export function recogniseCompression(start: Buffer): Compression {
  const magic = start.toString('hex', 0, MAGIC_BYTES)
  if (magic.startsWith('1f8b')) return 'gzip'
  if (magic.startsWith('28b52ffd')) return 'zstd'
  const other = magic.startsWith('fd377a585a00') ? 'xz' : magic.startsWith('425a68') ? 'bzip2' : undefined
  if (other) {
    throw badArchive(
      'unsupported_compression',
      `Archives packed with ${other} are not read; gzip, zstd and plain tar are.`,
      { compression: other },
    )
  }
  return 'none'
}

/** The stream that unpacks, or undefined when there is nothing to unpack. It works in the thread pool. */
export function decompressor(compression: Compression): Duplex | undefined {
  if (compression === 'gzip') return createGunzip({ chunkSize: 256 * 1024 })
  if (compression === 'zstd') return createZstdDecompress({ chunkSize: 256 * 1024 })
  return undefined
}

/**
 * `source` unpacked. A chunk of the source is done with when the next one is asked for. What is wrong in the packed data is
 * thrown as `invalid_argument/archive_corrupt`, `archive_truncated`.
 */
export async function* decompressed(source: AsyncIterable<Buffer>, compression: Compression): AsyncGenerator<Buffer> {
  const unpack = decompressor(compression)
  if (!unpack) {
    yield* source
    return
  }
  const fed = feed(source, unpack)
  try {
    for await (const chunk of unpack) {
      yield chunk as Buffer
      throwAway(chunk as Buffer)
    }
    await fed
  } catch (error) {
    throw asCorrupt(error)
  } finally {
    unpack.destroy()
    await fed
  }
}

/**
 * Writes chunk after chunk; an error of the source ends the stream with it. The end of the stream ends this at once: a source that
 * falls silent is not waited for, and is closed when it says something again.
 */
async function feed(source: AsyncIterable<Buffer>, unpack: Duplex): Promise<void> {
  const chunks = source[Symbol.asyncIterator]()
  let open = true
  let wake = () => {}
  unpack.once('close', () => {
    open = false
    wake()
  })
  // Not by a race with the end: it would keep a little of every chunk.
  const untilEnd = <T>(begin: (resolve: (value: T) => void, reject: (error: unknown) => void) => void) =>
    new Promise<T | undefined>((resolve, reject) => {
      wake = () => resolve(undefined)
      begin(resolve, reject)
    })
  try {
    while (open) {
      const next = await untilEnd<IteratorResult<Buffer>>((resolve, reject) => chunks.next().then(resolve, reject))
      if (!next || !open) break
      if (next.done) {
        unpack.end()
        return
      }
      await untilEnd<void>((resolve) => unpack.write(next.value, () => resolve()))
    }
    void chunks.return?.().catch(() => undefined)
  } catch (error) {
    unpack.destroy(error instanceof Error ? error : new Error(String(error)))
  }
}

/** zlib's own errors as ours. */
export function asCorrupt(error: unknown): unknown {
  const code = error instanceof Error ? ((error as NodeJS.ErrnoException).code ?? '') : ''
  if (!/^(Z_|ZSTD_|ERR_ZSTD|ERR_ZLIB)/.test(code)) return error
  const reason = code === 'Z_BUF_ERROR' ? 'archive_truncated' : 'archive_corrupt'
  return badArchive(reason, 'The packed data is damaged or cut off.', { cause: code })
}
