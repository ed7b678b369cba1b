import { isPlainObject } from './record.ts'

/**
 * `next` with the fields put back that `parse` dropped: those in `stored` (what was on disk) that are not in `parsed` (what
 * the caller was shown) and not in `next`. So an older version's update keeps what a newer one has added, at every depth of
 * nested objects. Arrays are values: they are taken from `next` as they are.
 */
export function carryUnknown<T extends object>(stored: object, parsed: object, next: T): T {
  const carried: Record<string, unknown> = { ...(next as Record<string, unknown>) }
  const seen = parsed as Record<string, unknown>
  for (const [key, value] of Object.entries(stored)) {
    if (!Object.hasOwn(seen, key)) {
      if (!Object.hasOwn(carried, key)) define(carried, key, value)
    } else if (isPlainObject(value) && isPlainObject(seen[key]) && isPlainObject(carried[key])) {
      define(carried, key, carryUnknown(value, seen[key], carried[key]))
    }
  }
  return carried as T
}

/** Plain assignment would call the setter of `__proto__`. */
function define(target: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, writable: true, configurable: true })
}
