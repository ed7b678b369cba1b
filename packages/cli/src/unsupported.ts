import { CoppiceError } from '@coppice/sdk'

/** What a later release brings: refused by name, politely, never half done. */
export function unsupported(reason: string, what: string, hint?: string): CoppiceError {
  const options = hint === undefined ? {} : { hint }
  return new CoppiceError('unsupported', reason, `${what} is not part of this release of Coppice yet.`, options)
}
