import { CoppiceError, type ErrorCode } from '@coppice/protocol/wire'

const KNOWN: Record<string, readonly [ErrorCode, string, string]> = {
  ENOENT: ['not_found', 'file_not_found', 'does not exist'],
  ENOTDIR: ['failed_precondition', 'not_a_directory', 'leads through something that is not a directory'],
  EISDIR: ['failed_precondition', 'is_a_directory', 'is a directory'],
  EEXIST: ['already_exists', 'file_exists', 'exists already'],
  ENOTEMPTY: ['failed_precondition', 'not_empty', 'is not empty'],
  EACCES: ['permission_denied', 'permission_denied', 'may not be accessed'],
  EPERM: ['permission_denied', 'permission_denied', 'may not be changed'],
  EROFS: ['failed_precondition', 'read_only', 'is on a read-only file system'],
  ENOSPC: ['resource_exhausted', 'disk_full', 'does not fit: the disk is full'],
  EDQUOT: ['resource_exhausted', 'disk_full', 'does not fit: the quota is used up'],
  ELOOP: ['failed_precondition', 'too_many_symlinks', 'leads through too many symlinks'],
  ENAMETOOLONG: ['invalid_argument', 'name_too_long', 'is too long'],
  EXDEV: ['failed_precondition', 'other_file_system', 'would have to go to another file system'],
  EBUSY: ['failed_precondition', 'busy', 'is in use by the system'],
  EINVAL: ['invalid_argument', 'invalid_path', 'cannot be used like that'],
}

/** An error of the file system as a typed one that names the path. Errors that are typed already stay as they are. */
export function fileError(error: unknown, path: Buffer): CoppiceError {
  if (error instanceof CoppiceError) return error
  const errno = (error as NodeJS.ErrnoException).code
  const known = errno === undefined ? undefined : KNOWN[errno]
  if (!known) return CoppiceError.from(error)
  const [code, reason, what] = known
  const name = path.toString('utf8')
  return new CoppiceError(code, reason, `${JSON.stringify(name)} ${what}.`, {
    cause: error,
    facts: { path: name, errno },
  })
}

/** Runs file work and turns its errors into typed ones. */
export async function onPath<T>(path: Buffer, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw fileError(error, path)
  }
}

export function notAFile(path: Buffer): CoppiceError {
  const name = path.toString('utf8')
  return new CoppiceError('failed_precondition', 'not_a_file', `${JSON.stringify(name)} is not a regular file.`, {
    facts: { path: name },
  })
}
