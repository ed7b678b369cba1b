/**
 * # A runtime record through its life
 *
 * What is kept of one runtime (a sandbox, a container) while it is used: some facts are of its birth and stay, others are
 * those of the last writer, and a time of use only moves forwards.
 */

/** The facts of a runtime that have rules of their own. Records hold more; that follows the last writer. */
export interface RuntimeFacts {
  /** Unix time in milliseconds at which the runtime was made. */
  createdAt: number
  /** What it was made from. */
  image: string
  /** Unix time in milliseconds of the last use. */
  lastUsedAt: number
  /** Hash of what was asked for when it was configured last. */
  configHash?: string | undefined
}

/** What a writer says about a runtime. Absent and undefined are the same: nothing is said. */
export type RuntimeChange<T extends RuntimeFacts> = { [K in keyof T]?: T[K] | undefined }

export interface UpsertOptions {
  /**
   * True when the runtime was made anew: `createdAt` and `image` are taken from the change, each if it is said there.
   * Default false.
   */
  recreate?: boolean
}

/**
 * The record after a change. Without a prior one the change is the record, and must be whole. Else:
 * - `createdAt` and `image` stay as they were, unless a recreate says others;
 * - the newest `configHash` wins, and a change without one keeps the prior;
 * - `lastUsedAt` never goes back: the later of both, and what is no time counts as nothing said;
 * - every other field follows the change where it says something, and stays where it does not.
 *
 * Pure: for use as the function of `Store.update`, which may call it several times.
 */
export function upsertRuntime<T extends RuntimeFacts>(
  prior: T | undefined,
  change: T | RuntimeChange<T>,
  options: UpsertOptions = {},
): T {
  const said = Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined)) as Partial<T>
  if (!prior) return said as T
  const born = options.recreate === true ? { ...birthOf(prior), ...birthOf(said) } : birthOf(prior)
  return { ...prior, ...said, ...born, lastUsedAt: later(prior.lastUsedAt, said.lastUsedAt) }
}

function birthOf(facts: Partial<RuntimeFacts>): Partial<RuntimeFacts> {
  const { createdAt, image } = facts
  return { ...(createdAt !== undefined && { createdAt }), ...(image !== undefined && { image }) }
}

/** A damaged or absent time loses against any other. */
function later(prior: number, said: number | undefined): number {
  if (!Number.isFinite(said)) return prior
  return Number.isFinite(prior) ? Math.max(prior, said as number) : (said as number)
}
