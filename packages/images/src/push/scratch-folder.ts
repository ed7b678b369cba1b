import { type FileHandle, mkdir, open, readdir, rm, statfs, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { reusedChunks } from '../store/reused-chunks.ts'
import { fullOnTheWay, type Place, spaceOf } from './room.ts'

/** `f_type` of a tmpfs. */
const TMPFS_MAGIC = 0x01021994

const PREFIX = 'transfer-'

/** The gateway reads it when it starts. */
const MORE_ROOM = 'coppice gateway stop; COPPICE_SCRATCH_DIR=/a/folder/with/room coppice gateway start'

/** Where bytes wait whose number has to be known before they are sent on. */
export class ScratchFolder {
  readonly dir: string
  /** What people are told who use it: it is in memory. */
  readonly warning: string | undefined

  private constructor(dir: string, warning: string | undefined) {
    this.dir = dir
    this.warning = warning
  }

  /**
   * Opens the folder that `COPPICE_SCRATCH_DIR` names, else `fallback` (in the state folder, never silently a tmpfs), and removes
   * what killed processes left in it.
   *
   * @param warn told when the folder is in memory, with its size
   * @throws `failed_precondition/scratch_unusable`
   */
  static async open(fallback: string, warn: (message: string) => void, env = process.env): Promise<ScratchFolder> {
    const dir = env.COPPICE_SCRATCH_DIR || fallback
    let warning: string | undefined
    try {
      await mkdir(dir, { recursive: true, mode: 0o700 })
      // Files are without a name while they are written: one that has a name belongs to a process that was killed before that.
      for (const name of await readdir(dir)) if (name.startsWith(PREFIX)) await rm(join(dir, name), { force: true })
      const { type, bsize, blocks } = await statfs(dir)
      if (type === TMPFS_MAGIC) {
        const size = ((blocks * bsize) / 1024 ** 2).toFixed(0)
        warning = `The scratch folder ${dir} is a tmpfs of ${size} MiB: what waits in it is in memory. COPPICE_SCRATCH_DIR names another.`
        warn(warning)
      }
      await (await openUnnamed(dir)).close()
    } catch (cause) {
      // One that is full now may have room when it is needed.
      if (!isFull(cause)) throw unusable(dir, cause)
    }
    return new ScratchFolder(dir, warning)
  }

  /** The folder as a place that can become full. */
  async place(): Promise<Place> {
    return { name: `The scratch folder ${this.dir}`, space: await spaceOf(this.dir), hint: MORE_ROOM }
  }

  /**
   * Takes all of a stream into a file without a name, which goes with this process or with `close`, whatever happens first.
   *
   * @param estimateBytes of the whole stream; there may be more or less of it
   * @throws `resource_exhausted/no_room`, `failed_precondition/scratch_unusable`
   */
  async take(chunks: AsyncIterable<Uint8Array>, estimateBytes: number, progress: Progress): Promise<ScratchFile> {
    const file = await openUnnamed(this.dir).catch(async (error: unknown) => {
      throw isFull(error) ? fullOnTheWay(estimateBytes, await this.place(), error) : unusable(this.dir, error)
    })
    let neededBytes = 0
    try {
      for await (const chunk of chunks) {
        progress.throwIfEnded()
        neededBytes += chunk.length
        await writeAll(file, chunk)
      }
      return new ScratchFile(file)
    } catch (error) {
      await file.close()
      throw isFull(error) ? fullOnTheWay(Math.max(neededBytes, estimateBytes), await this.place(), error) : error
    }
  }
}

/** A file that goes with its last opener. */
async function openUnnamed(dir: string): Promise<FileHandle> {
  const path = join(dir, `${PREFIX}${process.pid}-${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`)
  const file = await open(path, 'wx+', 0o600)
  await unlink(path)
  return file
}

function unusable(dir: string, cause: unknown): CoppiceError {
  const errno = (cause as NodeJS.ErrnoException).code
  return new CoppiceError(
    'failed_precondition',
    'scratch_unusable',
    `The scratch folder ${dir} cannot be used: ${errno}.`,
    {
      facts: { dir, errno },
      hint: MORE_ROOM,
      cause,
    },
  )
}

function isFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'ENOSPC' || code === 'EDQUOT'
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

  /** Its bytes from the first on. See `reusedChunks` for how long a chunk is whose. */
  chunks(): AsyncGenerator<Buffer> {
    return reusedChunks(this.#file)
  }

  async close(): Promise<void> {
    await this.#file.close()
  }
}
