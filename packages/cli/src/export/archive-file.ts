import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { realpath, rename, rm, stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { unwritable } from './unwritable.ts'

/** Writes an archive to a file, which has its name only when it is whole. Into a device or a fifo it goes as it comes. */
export async function writeArchive(
  archive: AsyncIterable<Buffer>,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  try {
    const there = await stat(path).catch(() => undefined)
    if (there?.isDirectory()) throw Object.assign(new Error('it is a folder'), { code: 'EISDIR' })
    if (there && !there.isFile()) {
      await pipeline(archive, createWriteStream(path), { signal })
      return
    }
    // A link stays, and what it leads to is replaced.
    const target = there ? await realpath(path) : path
    const draft = `${target}.${randomBytes(4).toString('hex')}.new`
    try {
      await pipeline(archive, createWriteStream(draft, { flags: 'wx' }), { signal })
      await rename(draft, target)
    } catch (error) {
      await rm(draft, { force: true })
      throw error
    }
  } catch (error) {
    throw unwritable(error, path)
  }
}
