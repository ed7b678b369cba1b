import { CoppiceError } from '@coppice/protocol/wire'

/** What a later release brings: refused by name, never half done. */
export function unsupported(reason: string, what: string, hint?: string): CoppiceError {
  return new CoppiceError(
    'unsupported',
    reason,
    `${what} is not part of this release of Coppice yet.`,
    hint === undefined ? {} : { hint },
  )
}
