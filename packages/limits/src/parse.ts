import type { OpenFileLimit } from './limit.ts'

/**
 * One limit as a shell or a kernel prints it. Undefined when the text is none.
 *
 * `ulimit -Sn` and `-Hn` print a number or `unlimited`, on Linux and on macOS. Some programs print the number that stands
 * for "no limit" instead: 2^64-1 on Linux, 2^63-1 on macOS; no machine opens that many files, so what is no exact integer is
 * unlimited.
 */
export function parseLimit(text: string): number | undefined {
  const word = text.trim()
  if (/^(unlimited|infinity)$/i.test(word)) return Number.POSITIVE_INFINITY
  if (!/^[0-9]+$/.test(word)) return undefined
  const limit = Number(word)
  return Number.isSafeInteger(limit) ? limit : Number.POSITIVE_INFINITY
}

/** The output of `ulimit -Sn; ulimit -Hn`: two lines. Undefined when it is something else. */
export function parseUlimit(output: string): OpenFileLimit | undefined {
  const [soft, hard, ...rest] = output.trim().split(/\s+/).map(parseLimit)
  return soft === undefined || hard === undefined || rest.length > 0 ? undefined : { soft, hard }
}

/** The text of `/proc/self/limits` on Linux. Undefined when it does not name the limit. */
export function parseProcLimits(text: string): OpenFileLimit | undefined {
  const [, soft = '', hard = ''] = /^Max open files +(\S+) +(\S+) +files *$/m.exec(text) ?? []
  return parseUlimit(`${soft}\n${hard}`)
}
