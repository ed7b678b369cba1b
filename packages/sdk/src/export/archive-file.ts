import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { CoppiceError } from '@coppice/protocol/wire'

/**
 * Writes an archive to a file, which has its name only when it is whole. Into a device or a fifo it goes as it comes.
 * @throws `not_found/folder_not_found`
 */
export async function writeArchive(archive: AsyncIterable<Buffer>, path: string): Promise<void> {
  const there = await stat(path).catch(() => undefined)
  if (there && !there.isFile() && !there.isDirectory()) {
    await pipeline(archive, createWriteStream(path))
    return
  }
  // A link stays, and what it leads to is replaced.
  const target = there ? await realpath(path) : path
  const draft = `${target}.${randomBytes(4).toString('hex')}.new`
  try {
    await pipeline(archive, createWriteStream(draft, { flags: 'wx' }))
    await rename(draft, target)
  } catch (error) {
    await rm(draft, { force: true })
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      const folder = dirname(target)
      throw new CoppiceError('not_found', 'folder_not_found', `There is no folder ${folder}.`, {
        hint: `mkdir -p ${folder}`,
        cause: error,
      })
    }
    throw error
  }
}
