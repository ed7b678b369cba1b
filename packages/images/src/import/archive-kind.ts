import { CoppiceError } from '@coppice/protocol/wire'
import { type Compression, decompressed, MAGIC_BYTES, recogniseCompression } from '../compression.ts'
import { badArchive } from '../faults.ts'
import { cleanName } from '../tar/archive-names.ts'
import { BLOCK } from '../tar/header.ts'
import { TarScanner } from '../tar/scanner.ts'

/** What an archive holds. `image`: an OCI layout, what `docker save` writes, or both in one. */
export type ArchiveKind = 'rootfs' | 'image'

/** Packed bytes in which an archive must show what it is: folders and their headers come before the first file. */
const MAX_LOOK_BYTES = 8 * 1024 * 1024

/**
 * A stream whose beginning was looked at: it is all there again in `chunks`. A chunk is good until the next one is asked
 * for, as those of the source are.
 */
export interface Recognised {
  compression: Compression
  kind: ArchiveKind
  chunks: AsyncGenerator<Buffer, void, void>
}

/**
 * Looks at the beginning of an archive: how it is packed, and by its first telling entry what it holds. Folders before that
 * (`./`, `blobs/`) are not telling. Throws `invalid_argument/archive_empty`, `not_an_archive`, `unsupported_compression`.
 */
export async function recogniseArchive(source: AsyncIterable<Buffer>): Promise<Recognised> {
  const replay = new Replay(source)
  try {
    const compression = readable(await replay.start(MAGIC_BYTES))
    const kind = await look(decompressed(replay.peek(), compression), replay)
    return { compression, kind, chunks: replay.all() }
  } catch (error) {
    await replay.close()
    throw error
  }
}

/** What is packed in another way has to be unpacked by somebody who can. */
function readable(start: Buffer): Compression {
  try {
    return recogniseCompression(start)
  } catch (error) {
    const { reason, message, facts } = CoppiceError.from(error)
    const tool = facts.compression
    throw badArchive(reason, message, facts, `${tool} -dc FILE | coppice image import -`)
  }
}

async function look(chunks: AsyncIterable<Buffer>, replay: Replay): Promise<ArchiveKind> {
  let kind: ArchiveKind | undefined
  const scanner = new TarScanner(({ name, type }) => {
    kind ??= kindOf(cleanName(name), type)
    return 'drop'
  })
  let bytes = 0
  for await (const chunk of chunks) {
    bytes += chunk.length
    for (let at = 0; at < chunk.length && !kind; at += 512) scanner.push(chunk.subarray(at, at + 512))
    if (kind) return kind
    if (replay.bytes > MAX_LOOK_BYTES) return 'rootfs'
  }
  if (bytes > 0 && bytes < BLOCK) throw badArchive('not_an_archive', 'This is no tar archive: it is too short for one.')
  scanner.finish()
  throw badArchive('archive_empty', 'The archive holds no files.')
}

function kindOf(name: string, type: string): ArchiveKind | undefined {
  if (name === '' || name === '.') return undefined
  if (type === '5' && /^(blobs|blobs\/sha256|[0-9a-f]{64})$/.test(name)) return name.length === 64 ? 'image' : undefined
  if (/^(oci-layout|index\.json|blobs\/sha256\/[0-9a-f]{64})$/.test(name)) return 'image'
  if (/^(manifest\.json|repositories|(sha256:)?[0-9a-f]{64}(\.json|\.tar(\.gz)?|\/.*)?)$/.test(name)) return 'image'
  return 'rootfs'
}

/** Keeps what was read of a stream until it is read for good. */
class Replay {
  readonly #source: AsyncIterator<Buffer>
  readonly #kept: Buffer[] = []
  /** A read that was begun for somebody who has turned away since. */
  #pending: Promise<boolean> | undefined
  bytes = 0

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  async start(bytes: number): Promise<Buffer> {
    while (this.bytes < bytes && (await this.#more())) {}
    return Buffer.concat(this.#kept)
  }

  /** From the beginning, as far as somebody reads; everything stays. */
  async *peek(): AsyncGenerator<Buffer> {
    for (let at = 0; at < this.#kept.length || (await this.#more()); at++) {
      const chunk = this.#kept[at]
      if (chunk) yield chunk
    }
  }

  /** From the beginning to the end; nothing stays. */
  async *all(): AsyncGenerator<Buffer> {
    try {
      while (this.#kept.length > 0 || (this.#pending && (await this.#pending))) {
        const chunk = this.#kept.shift()
        if (chunk) yield chunk
      }
      for (let next = await this.#source.next(); !next.done; next = await this.#source.next()) yield next.value
    } finally {
      await this.close()
    }
  }

  /** A source that is being waited for is closed when it says something again. */
  async close(): Promise<void> {
    const closed = this.#source.return?.()
    if (this.#pending) void closed?.catch(() => undefined)
    else await closed
  }

  #more(): Promise<boolean> {
    this.#pending ??= this.#read()
    return this.#pending
  }

  async #read(): Promise<boolean> {
    const next = await this.#source.next()
    this.#pending = undefined
    if (next.done) return false
    this.#kept.push(Buffer.from(next.value))
    this.bytes += next.value.length
    return true
  }
}
