import { type FileHandle, mkdir, open, readdir, rm, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'

/** `f_type` of a tmpfs. */
const TMPFS_MAGIC = 0x01021994

const PREFIX = 'transfer-'

/** Bytes read at a time. More makes no difference in speed. */
const CHUNK_BYTES = 512 * 1024

/** Where bytes wait whose number has to be known before they are sent on. */
export class ScratchFolder {
  readonly dir: string

  private constructor(dir: string) {
    this.dir = dir
  }

  /**
   * Opens the folder that `COPPICE_SCRATCH_DIR` names, else `fallback` (in the state folder, never silently a tmpfs), and removes
   * what killed processes left in it.
   *
   * @param warn told when the folder is in memory, with its size
   */
  static async open(fallback: string, warn: (message: string) => void, env = process.env): Promise<ScratchFolder> {
    const dir = env.COPPICE_SCRATCH_DIR || fallback
    try {
      await mkdir(dir, { recursive: true, mode: 0o700 })
      // Files are without a name while they are written: one that has a name belongs to a process that was killed before that.
      for (const name of await readdir(dir)) if (name.startsWith(PREFIX)) await rm(join(dir, name), { force: true })
      const { type, bsize, blocks } = await statfs(dir)
      if (type === TMPFS_MAGIC) {
        const size = ((blocks * bsize) / 1024 ** 2).toFixed(0)
        warn(
          `The scratch folder ${dir} is a tmpfs of ${size} MiB: what waits in it is in memory. COPPICE_SCRATCH_DIR names another.`,
        )
      }
    } catch (cause) {
      throw new CoppiceError('failed_precondition', 'scratch_unusable', `The scratch folder ${dir} cannot be used.`, {
        facts: { dir, errno: (cause as NodeJS.ErrnoException).code },
        hint: 'COPPICE_SCRATCH_DIR=/a/folder/with/room',
        cause,
      })
    }
    return new ScratchFolder(dir)
  }

  /** Bytes that may still be written. */
  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.dir)
    return bavail * bsize
  }

  /**
   * Takes all of a stream into a file without a name, which goes with this process or with `close`, whatever happens first.
   *
   * @throws `resource_exhausted/scratch_full`
   */
  async take(chunks: AsyncIterable<Uint8Array>, progress: Progress): Promise<ScratchFile> {
    const path = join(
      this.dir,
      `${PREFIX}${process.pid}-${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`,
    )
    const file = await open(path, 'wx+', 0o600)
    await unlink(path)
    try {
      for await (const chunk of chunks) {
        progress.throwIfEnded()
        await writeAll(file, chunk)
      }
      return new ScratchFile(file)
    } catch (error) {
      await file.close()
      throw (error as NodeJS.ErrnoException).code === 'ENOSPC' ? await this.#full() : error
    }
  }

  async #full(): Promise<CoppiceError> {
    const free = await this.freeBytes().catch(() => 0)
    return new CoppiceError('resource_exhausted', 'scratch_full', `The scratch folder ${this.dir} is full.`, {
      facts: { dir: this.dir, freeBytes: free },
      hint: 'COPPICE_SCRATCH_DIR=/a/folder/with/room',
    })
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten
}

/** Bytes on disk that nobody else can see. */
export class ScratchFile {
  readonly #file: FileHandle

  constructor(file: FileHandle) {
    this.#file = file
  }

  async sizeBytes(): Promise<number> {
    return (await this.#file.stat()).size
  }

  /**
   * Its bytes from the first on. A chunk is the reader's until it asks for the next but one: two buffers take turns, because
   * fresh ones for gigabytes are garbage faster than it is collected.
   */
  async *chunks(chunkBytes = CHUNK_BYTES): AsyncGenerator<Buffer> {
    const buffers = [Buffer.allocUnsafeSlow(chunkBytes), Buffer.allocUnsafeSlow(chunkBytes)]
    for (let at = 0, turn = 0; ; turn = 1 - turn) {
      const buffer = buffers[turn] as Buffer
      const { bytesRead } = await this.#file.read(buffer, 0, chunkBytes, at)
      if (bytesRead === 0) return
      at += bytesRead
      yield buffer.subarray(0, bytesRead)
    }
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}
