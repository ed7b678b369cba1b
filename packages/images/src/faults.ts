import { CoppiceError } from '@coppice/protocol/wire'

/** The `code` of a Node system error: `ENOENT`, or undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

/** A file system error in the content store, typed. Anything else comes back as it is. */
export function storeFault(error: unknown, path: string): unknown {
  const errno = errnoOf(error)
  if (error instanceof CoppiceError || errno === undefined) return error
  const options = { cause: error, facts: { errno, path } }
  switch (errno) {
    case 'EACCES':
    case 'EPERM':
      return new CoppiceError('permission_denied', 'store_permission', `No permission for ${path} (${errno}).`, options)
    case 'ENOSPC':
    case 'EDQUOT':
      return diskFull(path, error)
    case 'ENOENT':
      return new CoppiceError('not_found', 'file_not_found', `There is no ${path}.`, options)
    default:
      return new CoppiceError('unavailable', 'store_io', `The image store could not use ${path} (${errno}).`, options)
  }
}

/** What helps where the store is out of room. */
export const MORE_ROOM = 'coppice image prune, or a COPPICE_HOME with more room'

/** No room where `path` is. */
export function diskFull(path: string, cause?: unknown): CoppiceError {
  return new CoppiceError('resource_exhausted', 'disk_full', `No room left for ${path}.`, {
    cause,
    retryable: true,
    facts: { path },
    hint: MORE_ROOM,
  })
}

/** An archive that is not what it should be, or tries what it must not. `reason` is the stable word. */
export function badArchive(reason: string, message: string, facts: Record<string, unknown> = {}): CoppiceError {
  return new CoppiceError('invalid_argument', reason, message, { facts })
}

/** Runs `work`; what the file system throws leaves typed. */
export async function withStoreFaults<R>(path: string, work: () => Promise<R>): Promise<R> {
  try {
    return await work()
  } catch (error) {
    throw storeFault(error, path)
  }
}
