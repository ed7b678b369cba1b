import { CoppiceError, type ErrorBody } from '@coppice/protocol/wire'

export function keyReused(key: string): CoppiceError {
  return new CoppiceError('conflict', 'key_reused', 'This key has already run a different command.', {
    facts: { key },
    hint: 'Use a new key for a new command.',
  })
}

export function keyExpired(key: string): CoppiceError {
  return new CoppiceError('conflict', 'key_expired', 'This key has run before, and its result is no longer kept.', {
    facts: { key },
    hint: 'Use a new key to run it again.',
  })
}

export function idInUse(id: string): CoppiceError {
  return new CoppiceError('conflict', 'id_in_use', `There is another exec ${id}.`, { facts: { id } })
}

export function tooMany(limit: number): CoppiceError {
  return new CoppiceError('resource_exhausted', 'too_many_execs', `${limit} execs are running.`, {
    retryable: true,
    facts: { limit },
    hint: 'Wait for some to end, or end them: `coppice ps SANDBOX`, `coppice kill SANDBOX EXEC`.',
  })
}

export function execNotFound(id: string): CoppiceError {
  return new CoppiceError('not_found', 'exec_not_found', `There is no exec ${id}, or its result is no longer kept.`, {
    facts: { id },
    hint: 'List what there is with `coppice ps SANDBOX`.',
  })
}

export function execEnded(id: string): CoppiceError {
  return new CoppiceError('failed_precondition', 'exec_ended', 'The exec has ended.', { facts: { id } })
}

/** The end of an exec whose wait status nobody will ever know. */
export function lostError(outputBytes: number, why: string): ErrorBody {
  return new CoppiceError('unavailable', 'exec_lost', `The exec has no exit status: ${why}.`, {
    retryable: false,
    facts: { outputBytes },
    hint: 'Look at the output that was kept, then decide whether it is safe to run it again.',
  }).toBody()
}
