import { CoppiceError } from '@coppice/protocol/wire'

/** The `code` of a Node file system error: `ENOENT`, or undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' ? code : undefined
}

/**
 * A file system error as what it means for the registry. Nothing becomes `not_found` here: the places where absence is an
 * answer look for ENOENT themselves.
 */
export function registryFault(error: unknown, path: string): CoppiceError {
  if (error instanceof CoppiceError) return error
  const errno = errnoOf(error) ?? 'unknown'
  const options = { cause: error, facts: { errno, path } }
  switch (errno) {
    case 'EACCES':
    case 'EPERM':
      return new CoppiceError('permission_denied', 'registry_permission', `No permission for ${path} (${errno}).`, {
        ...options,
        hint: `ls -ld ${path}`,
      })
    case 'ENOSPC':
    case 'EDQUOT':
      return new CoppiceError('resource_exhausted', 'disk_full', `No room left for ${path} (${errno}).`, {
        ...options,
        retryable: true,
        hint: `df -h ${path}`,
      })
    default:
      return new CoppiceError('unavailable', 'registry_io', `The registry could not use ${path} (${errno}).`, options)
  }
}

/** Runs `work`; what the file system throws leaves typed. */
export async function withFaults<R>(path: string, work: () => Promise<R>): Promise<R> {
  try {
    return await work()
  } catch (error) {
    if (errnoOf(error) === undefined) throw error
    throw registryFault(error, path)
  }
}
