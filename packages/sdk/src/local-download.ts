import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { lstat, mkdir, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import type { SandboxFiles } from './files.ts'
import { localError } from './local-upload.ts'
import type { RemotePath } from './paths.ts'
import { unpack } from './tar/unpack.ts'

/** Copies a file or folder of a sandbox to exactly `localPath`. */
export async function downloadPath(
  files: SandboxFiles,
  path: RemotePath,
  localPath: string,
  options: { signal?: AbortSignal },
): Promise<void> {
  const remote = await files.stat(path)
  try {
    if (remote.type === 'directory') {
      const made = await mkdir(localPath, { recursive: true })
      await unpack(await files.readArchive(path, options), localPath, { keepRoot: made === undefined })
    } else if (remote.type === 'file') {
      await downloadFile(files, path, localPath, remote.mode & 0o777, options)
    } else {
      throw new CoppiceError(
        'invalid_argument',
        'not_a_file',
        `${remote.path} is a ${remote.type}, neither a file nor a folder.`,
      )
    }
  } catch (error) {
    throw error instanceof CoppiceError ? error : localError(error as NodeJS.ErrnoException, localPath)
  }
}

/** Writes beside the target and renames at the end, so that the target never holds half a file. */
async function downloadFile(
  files: SandboxFiles,
  path: RemotePath,
  localPath: string,
  mode: number,
  options: { signal?: AbortSignal },
): Promise<void> {
  const there = await lstat(localPath).catch(() => undefined)
  if (there && !there.isFile()) {
    // A device or a fifo is written into, not replaced.
    await pipeline(files.readStream(path, options), createWriteStream(localPath, { flags: 'w' }))
    return
  }
  const temporary = join(dirname(localPath), `.${basename(localPath).slice(0, 200)}.${randomBytes(6).toString('hex')}`)
  try {
    await pipeline(files.readStream(path, options), createWriteStream(temporary, { flags: 'wx', mode }))
    await rename(temporary, localPath)
  } catch (error) {
    await unlink(temporary).catch(() => {})
    throw error
  }
}
