import { CoppiceError } from '@coppice/protocol/wire'

/** The `code` of a Node system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

/** What the file system refused, as a sentence and the command that helps. Errors that are typed already stay as they are. */
export function faultOf(error: unknown, path: string): CoppiceError {
  if (error instanceof CoppiceError) return error
  const errno = errnoOf(error)
  const options = { cause: error, facts: { errno, path } }
  switch (errno) {
    case undefined:
      return CoppiceError.from(error)
    case 'ENOSPC':
    case 'EDQUOT':
      return new CoppiceError('resource_exhausted', 'disk_full', `No room is left on the disk of ${path}.`, {
        ...options,
        hint: `df -h ${quoted(path)}`,
      })
    case 'EACCES':
    case 'EPERM':
      return new CoppiceError(
        'permission_denied',
        'no_permission',
        `This user may not do that to ${path} (${errno}).`,
        {
          ...options,
          hint: `ls -ld ${quoted(path)}`,
        },
      )
    case 'EROFS':
      return new CoppiceError('failed_precondition', 'read_only', `${path} lies on a read-only file system.`, {
        ...options,
        hint: `findmnt --target ${quoted(path)}`,
      })
    case 'EIO':
      return new CoppiceError('unavailable', 'disk_error', `The disk of ${path} gives errors (EIO).`, {
        ...options,
        hint: 'dmesg | tail -n 20',
      })
    default:
      return new CoppiceError('unavailable', 'file_system', `${path}: ${(error as Error).message}`, {
        ...options,
        hint: `ls -ld ${quoted(path)}`,
      })
  }
}

/** A path as one word of a shell. */
export function quoted(path: string): string {
  return /^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`
}

/** True when there is nothing at a path: absence is an answer, every other error is not. */
export function isAbsent(error: unknown): boolean {
  const errno = errnoOf(error)
  return errno === 'ENOENT' || errno === 'ENOTDIR'
}
