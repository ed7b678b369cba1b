import { createHash } from 'node:crypto'
import { rmSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import type { Progress } from '@coppice/protocol/wire'
import { decompressed, MAGIC_BYTES, recogniseCompression } from '../compression.ts'
import { badArchive } from '../faults.ts'
import { readChunks } from '../import/disk-source.ts'
import { BlobDraft } from '../store/blob-draft.ts'
import type { Intake } from '../store/intake.ts'
import { TarScanner } from '../tar/scanner.ts'

/** Files of an archive that may be the layer and are packed, so that only unpacking tells: more than an image has layers. */
const MAX_PACKED = 512

/** A file of the archive, in a scratch file. */
interface Candidate {
  path: string
  size: number
}

/** A layer's scratch file, unpacked. */
export async function* fileChunks(path: string, size: number, progress: Progress): AsyncGenerator<Buffer> {
  async function* raw() {
    for (const chunk of readChunks(path, { start: 0, size })) {
      yield chunk
      await turn()
      progress.throwIfEnded()
    }
  }
  const [start] = readChunks(path, { start: 0, size: Math.min(size, MAGIC_BYTES) })
  yield* decompressed(raw(), recogniseCompression(start ?? Buffer.alloc(0)))
}

/**
 * The layer with this id out of a `docker save` archive, as a scratch file that the caller removes. Which of the archive's files are
 * layers may be said only at its end: each that may be it is written down and thrown away again when it is not. The archive is
 * read no further than needed. Throws `invalid_argument/layer_incomplete` when it is not in there.
 *
 * @param known digests of layers that it is not; files that are called by one are passed over
 */
export async function findLayer(
  archive: AsyncIterable<Buffer>,
  diffId: string,
  known: ReadonlySet<string>,
  intake: Intake,
  progress: Progress,
): Promise<{ path: string; size: number }> {
  const search = new Search(diffId, known, intake)
  try {
    for await (const chunk of archive) {
      search.push(chunk)
      const found = search.takeFound()
      if (found) return found
      await turn()
      progress.throwIfEnded()
    }
    search.finish()
    for (let next = search.takePacked(); next; next = search.takePacked()) {
      if ((await digestUnpacked(next.path, next.size, progress)) === diffId) return next
      rmSync(next.path, { force: true })
    }
    throw badArchive('layer_incomplete', 'The archive does not hold the layer that was saved.', { diffId })
  } finally {
    await search.close()
  }
}

class Search {
  readonly #packed: Candidate[] = []
  readonly #diffId: string
  readonly #known: ReadonlySet<string>
  readonly #intake: Intake
  readonly #scanner: TarScanner
  #draft: BlobDraft | undefined
  #start: Buffer = Buffer.alloc(0)
  #found: Candidate | undefined
  #closing: Promise<void>[] = []

  constructor(diffId: string, known: ReadonlySet<string>, intake: Intake) {
    this.#diffId = diffId
    this.#known = known
    this.#intake = intake
    this.#scanner = new TarScanner(
      ({ name, type, size }) => (type === '0' && this.#mayBeLayer(name, size) ? 'read' : 'drop'),
      (bytes, last) => this.#onBody(bytes, last),
    )
  }

  push(chunk: Buffer): void {
    this.#scanner.push(chunk)
  }

  finish(): void {
    this.#scanner.finish()
  }

  /** The layer, once it has come whole. It is the caller's from then on. */
  takeFound(): Candidate | undefined {
    const found = this.#found
    this.#found = undefined
    return found
  }

  /** One of the files that are packed, the latest first. It is the caller's from then on. */
  takePacked(): Candidate | undefined {
    return this.#packed.pop()
  }

  async close(): Promise<void> {
    await this.#draft?.remove()
    await Promise.all(this.#closing)
    for (const { path } of [...this.#packed, ...(this.#found ? [this.#found] : [])]) rmSync(path, { force: true })
  }

  #mayBeLayer(name: string, size: number): boolean {
    const hex = /(?:^|\/)([0-9a-f]{64})(?:\.tar)?$/.exec(name)?.[1]
    return size > 0 && !name.endsWith('json') && !(hex && this.#known.has(`sha256:${hex}`))
  }

  #onBody(bytes: Buffer, last: boolean): void {
    this.#draft ??= BlobDraft.create(this.#intake.newPath())
    if (this.#start.length < MAGIC_BYTES) this.#start = Buffer.concat([this.#start, bytes.subarray(0, MAGIC_BYTES)])
    this.#draft.write(bytes)
    if (last) this.#settle(this.#draft)
  }

  #settle(draft: BlobDraft): void {
    const { path, size, digest } = draft
    const packed = recogniseCompression(this.#start) !== 'none'
    this.#draft = undefined
    this.#start = Buffer.alloc(0)
    const candidate = { path, size }
    if (digest === this.#diffId) this.#found = candidate
    else if (packed && this.#packed.length < MAX_PACKED) this.#packed.push(candidate)
    else rmSync(path, { force: true })
    this.#closing.push(draft.close())
  }
}

async function digestUnpacked(path: string, size: number, progress: Progress): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of fileChunks(path, size, progress)) hash.update(chunk)
  return `sha256:${hash.digest('hex')}`
}
