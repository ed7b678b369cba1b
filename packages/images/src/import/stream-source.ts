import { rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { setImmediate as turn } from 'node:timers/promises'
import type { Progress } from '@coppice/protocol/wire'
import { withStoreFaults } from '../faults.ts'
import { BlobDraft } from '../store/blob-draft.ts'
import { type BlobId, checkBlob } from '../store/blob-id.ts'
import { digestOf } from '../store/digest.ts'
import type { Intake } from '../store/intake.ts'
import { ArchiveNames, cleanName } from '../tar/archive-names.ts'
import { type TarEntry, TarScanner } from '../tar/scanner.ts'
import { readChunks } from './disk-source.ts'
import { type FileSource, missing } from './file-source.ts'
import { checkUnpackedSize } from './unpacked-size.ts'

/** Files up to this size are kept in memory instead of scratch files: 64 KiB each, 8 MiB together. */
const SMALL_BYTES = 64 * 1024
const ALL_SMALL_BYTES = 8 * 1024 * 1024

/** A file of the archive: its bytes, a scratch file that was hashed while it was written, or a blob the store had. */
type Kept = { at: 'memory'; bytes: Buffer } | Scratched
type Scratched = { at: 'scratch'; path: string; id: BlobId; synced: boolean }

/**
 * The files of an archive that comes as a stream and can be read only once: what says which of them are needed may come
 * last. A file that is named by its digest and is in the store is not written again.
 */
export async function streamSource(
  chunks: AsyncIterable<Buffer>,
  intake: Intake,
  maxUnpackedBytes: number,
  progress: Progress,
): Promise<FileSource> {
  const drain = new Drain(intake)
  try {
    let unpacked = 0
    for await (const chunk of chunks) {
      unpacked += chunk.length
      checkUnpackedSize(unpacked, maxUnpackedBytes)
      drain.push(chunk)
      await turn()
      progress.throwIfEnded()
    }
    drain.finish()
    return drainedSource(drain)
  } catch (error) {
    await drain.remove()
    throw error
  }
}

class Drain {
  readonly files = new ArchiveNames<Kept>()
  readonly #intake: Intake
  readonly #scanner: TarScanner
  #smallBytes = 0
  #body: { name: string; parts: Buffer[] | undefined; draft: BlobDraft | undefined } | undefined
  readonly #closing: Promise<void>[] = []

  constructor(intake: Intake) {
    this.#intake = intake
    this.#scanner = new TarScanner(
      (entry) => this.#decide(entry),
      (bytes, last) => this.#onBody(bytes, last),
    )
  }

  push(chunk: Buffer): void {
    this.#scanner.push(chunk)
  }

  finish(): void {
    this.#scanner.finish()
  }

  async remove(): Promise<void> {
    await this.#body?.draft?.remove()
    await Promise.all(this.#closing)
    for (const kept of this.files.values()) forget(kept)
  }

  #decide(entry: TarEntry): 'drop' | 'read' {
    if (entry.type !== '0') {
      this.files.addLink(entry)
      return 'drop'
    }
    const name = cleanName(entry.name)
    const linked = this.#known(name, entry.size)
    if (linked) {
      this.#keep(name, linked)
      return 'drop'
    }
    const small = entry.size <= SMALL_BYTES && this.#smallBytes + entry.size <= ALL_SMALL_BYTES
    if (small) this.#smallBytes += entry.size
    else this.#intake.requireRoom(entry.size, `${name} of the archive`)
    this.#body = {
      name,
      parts: small ? [] : undefined,
      draft: small ? undefined : BlobDraft.create(this.#intake.newPath()),
    }
    return 'read'
  }

  #known(name: string, size: number): Kept | undefined {
    const digest = claimedDigest(name)
    if (digest === undefined) return undefined
    const id = { digest, size }
    const path = this.#intake.link(id)
    return path === undefined ? undefined : { at: 'scratch', path, id, synced: true }
  }

  #onBody(bytes: Buffer, last: boolean): void {
    const body = this.#body
    if (!body) return
    // The chunk is not ours to keep.
    if (body.parts) body.parts.push(Buffer.from(bytes))
    else body.draft?.write(bytes)
    if (!last) return
    this.#body = undefined
    const claimed = claimedDigest(body.name)
    if (body.parts) {
      const bytes = Buffer.concat(body.parts)
      if (claimed !== undefined) checkBlob(idOf(bytes), { digest: claimed })
      this.#keep(body.name, { at: 'memory', bytes })
    }
    if (!body.draft) return
    const { path, digest, size } = body.draft
    const kept: Scratched = { at: 'scratch', path, id: { digest, size }, synced: false }
    this.#closing.push(this.#settle(body.draft, kept, claimed === digest))
    this.#keep(body.name, kept)
    // Now, and not when all has come: the sender may fall silent before.
    if (claimed !== undefined) checkBlob(kept.id, { digest: claimed })
  }

  /** A blob that the next attempt will know by its name is put in place now: if this one is killed, it need not be written again. */
  async #settle(draft: BlobDraft, kept: Scratched, isBlob: boolean): Promise<void> {
    await draft.close()
    // What goes wrong here goes wrong again when the file is needed, and is told then.
    if (isBlob) await adopt(kept, kept.id, this.#intake).catch(() => undefined)
  }

  #keep(name: string, kept: Kept): void {
    const before = this.files.set(name, kept)
    if (before) forget(before)
  }
}

function idOf(bytes: Buffer): BlobId {
  return { digest: digestOf(bytes), size: bytes.length }
}

/** What the name of a file in an OCI layout says about its content. */
function claimedDigest(name: string): string | undefined {
  const hex = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(name)?.[1]
  return hex && `sha256:${hex}`
}

function forget(kept: Kept): void {
  if (kept.at === 'scratch') rmSync(kept.path, { force: true })
}

function drainedSource(drain: Drain): FileSource {
  const size = (kept: Kept) => (kept.at === 'memory' ? kept.bytes.length : kept.id.size)
  const start = (name: string, bytes: number) => {
    const kept = drain.files.get(name)
    if (!kept) throw missing(name)
    if (kept.at === 'memory') return kept.bytes.subarray(0, bytes)
    const place = { start: 0, size: Math.min(bytes, kept.id.size) }
    return Buffer.concat(Array.from(readChunks(kept.path, place), (chunk) => Buffer.from(chunk)))
  }
  return {
    spooled: true,
    size: async (name) => {
      const kept = drain.files.get(name)
      return kept && size(kept)
    },
    read: async (name) => start(name, Number.MAX_SAFE_INTEGER),
    start: async (name, bytes) => start(name, bytes),
    identify: async (name) => {
      const kept = drain.files.get(name)
      if (!kept) throw missing(name)
      return kept.at === 'scratch' ? kept.id : idOf(kept.bytes)
    },
    intoStore: async (name, id, intake, counter) => {
      const kept = drain.files.get(name)
      if (!kept) throw missing(name)
      await adopt(kept, id, intake)
      counter.add(size(kept))
    },
    close: () => drain.remove(),
  }
}

/** A file can be named twice, and be two blobs of one content: it is linked, never moved, so that it is still there. */
async function adopt(kept: Kept, id: BlobId, intake: Intake): Promise<void> {
  if (kept.at === 'memory') {
    await intake.write(id, () => [kept.bytes])
    return
  }
  checkBlob(kept.id, id)
  if (!kept.synced) {
    await withStoreFaults(kept.path, () => syncFile(kept.path))
    kept.synced = true
  }
  await intake.placeCopy(kept.path, id)
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await file.datasync()
  } finally {
    await file.close()
  }
}
