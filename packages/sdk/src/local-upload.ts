import { stat } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import type { SandboxFiles } from './files.ts'
import { pack, readExactly } from './tar/pack.ts'

/** Copies a local file or folder (a symlink to one counts as it) to exactly `path`. */
export async function uploadPath(
  files: SandboxFiles,
  localPath: string,
  path: string,
  options: { user?: string; signal?: AbortSignal },
): Promise<void> {
  const local = await stat(localPath).catch((cause) => {
    throw localError(cause, localPath)
  })
  if (local.isFile()) {
    const mode = local.mode & 0o777
    await files.write(path, readExactly(localPath, local.size), { ...options, size: local.size, mode })
  } else if (local.isDirectory()) {
    await files.mkdir(path, { parents: true, ...(options.user === undefined ? {} : { user: options.user }) })
    await files.writeArchive(path, pack(localPath), options)
  } else {
    throw new CoppiceError('invalid_argument', 'not_a_file', `${localPath} is neither a file nor a folder.`)
  }
}

/** A failure of the local file system as a typed error. */
export function localError(cause: NodeJS.ErrnoException, fallbackPath: string): CoppiceError {
  const path = cause.path ?? fallbackPath
  const facts = { path, errno: cause.code }
  if (cause.code === 'ENOENT')
    return new CoppiceError('not_found', 'local_file_not_found', `There is no ${path} here.`, { facts, cause })
  if (cause.code === 'EACCES' || cause.code === 'EPERM') {
    return new CoppiceError('permission_denied', 'local_file_denied', `${path} may not be used: ${cause.code}.`, {
      facts,
      cause,
    })
  }
  if (cause.code === 'ENOSPC') {
    return new CoppiceError('resource_exhausted', 'local_disk_full', `There is no room left for ${path}.`, {
      facts,
      cause,
    })
  }
  return new CoppiceError('failed_precondition', 'local_file_failed', `${path}: ${cause.message}`, { facts, cause })
}
