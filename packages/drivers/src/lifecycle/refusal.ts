import { CoppiceError, type ErrorOptions } from '@coppice/protocol/wire'

const MiB = 1024 * 1024

/** Limits that a running sandbox was not given; it has those of before. `why`: the rest of a sentence. */
export function limitsRefused(id: string, why: string, options: ErrorOptions = {}): CoppiceError {
  return new CoppiceError('failed_precondition', 'limits_refused', `The limits of ${id} were not changed: ${why}`, {
    hint: `coppice stats ${id}`,
    ...options,
  })
}

/** The same, because it uses more memory than it would have. Both in bytes. */
export function memoryInUse(id: string, limit: number, used: number | null, cause?: unknown): CoppiceError {
  const uses = used === null ? 'more' : `${Math.ceil(used / MiB)} MiB`
  return limitsRefused(id, `it uses ${uses} of memory and would have ${Math.floor(limit / MiB)} MiB.`, {
    facts: { memoryBytes: used, limitBytes: limit },
    cause,
  })
}
