/** Files that a process may have open at the same time. `Infinity`: no limit. */
export interface OpenFileLimit {
  /** What counts now. Any process may raise its own up to the hard one. */
  soft: number
  /** How far the soft one may be raised. Only an administrator raises this one. */
  hard: number
}

/** A limit as `ulimit` prints it. */
export function limitText(limit: number): string {
  return limit === Number.POSITIVE_INFINITY ? 'unlimited' : String(limit)
}
