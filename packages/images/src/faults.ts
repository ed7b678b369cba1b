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

/** Characters of a message, and of a text among its facts: archives hold names of a mebibyte. */
const MAX_TEXT = 1000

/** Things that are listed among the facts. */
const MAX_LISTED = 10

/**
 * An archive that is not what it should be, or tries what it must not. `reason` is the stable word. What is quoted of the archive may be
 * as long as it likes: it is shortened here.
 */
export function badArchive(
  reason: string,
  message: string,
  facts: Record<string, unknown> = {},
  hint?: string,
): CoppiceError {
  const few = Object.entries(facts).map(([key, value]) => [key, shortened(value)])
  return new CoppiceError('invalid_argument', reason, shortText(harmless(message)), {
    facts: Object.fromEntries(few),
    ...(hint !== undefined && { hint: shortText(harmless(hint)) }),
  })
}

/** Without what would move a terminal's cursor; lines stay. */
function harmless(text: string): string {
  return text.replaceAll(/[^\P{C}\n]/gu, '?')
}

function shortened(fact: unknown): unknown {
  if (typeof fact === 'string') return shortText(fact)
  if (Array.isArray(fact)) return fact.slice(0, MAX_LISTED).map(shortened)
  return fact
}

function shortText(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text
}

/** Runs `work`; what the file system throws leaves typed. */
export async function withStoreFaults<R>(path: string, work: () => Promise<R>): Promise<R> {
  try {
    return await work()
  } catch (error) {
    throw storeFault(error, path)
  }
}
