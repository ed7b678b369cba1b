import { CoppiceError } from '@coppice/sdk'

/** Why a place could not be written, as a typed error. */
export function unwritable(error: unknown, path: string): CoppiceError {
  if (error instanceof CoppiceError) return error
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC') {
    return new CoppiceError('resource_exhausted', 'local_disk_full', `There is no room left for ${path}.`, {
      facts: { path },
      cause: error,
    })
  }
  return new CoppiceError('failed_precondition', 'target_unwritable', `${path} cannot be written: ${code ?? message}.`, {
    facts: { path },
    cause: error,
  })
}
