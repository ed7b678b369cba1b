/**
 * Whether an answer has what its readers take for granted. An engine in order always does; what listens at its socket may be
 * something else, or half of it.
 */
export type Shape = (value: unknown) => boolean

export const isObject: Shape = (value) => value !== null && typeof value === 'object' && !Array.isArray(value)

/** An object whose members have these types; more members may be there. */
export function withMembers(members: Record<string, Shape>): Shape {
  return (value) => {
    if (!isObject(value)) return false
    return Object.entries(members).every(([name, shape]) => shape((value as Record<string, unknown>)[name]))
  }
}

export function listOf(shape: Shape): Shape {
  return (value) => Array.isArray(value) && value.every(shape)
}

export const isText: Shape = (value) => typeof value === 'string'
export const isNumber: Shape = (value) => typeof value === 'number'

/** One that may be left out, or be null. */
export function maybe(shape: Shape): Shape {
  return (value) => value === undefined || value === null || shape(value)
}

/** What was made, by its id. */
export const hasId = withMembers({ Id: isText })
