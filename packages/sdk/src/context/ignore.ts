import { posix } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

interface Pattern {
  /** `!` before it: what it matches is taken after all. */
  exception: boolean
  /** Cleaned, without `!`. */
  text: string
  matches: (path: string) => boolean
}

/**
 * Which paths of a build context are left out, by the rules of `.dockerignore` as BuildKit reads it: patterns in order, the
 * last that matches decides, a pattern that matches a folder counts for what is in it, `**` is any number of folders.
 */
export class IgnoreFile {
  readonly #patterns: Pattern[]

  /**
   * @param text the file, one pattern a line
   * @throws `invalid_argument/bad_ignore_pattern` that names it
   */
  constructor(text: string) {
    this.#patterns = readPatterns(text).map(compile)
  }

  /** True when a path, relative to the context, is left out. */
  ignores(path: string): boolean {
    const parents = parentsOf(path)
    let ignored = false
    for (const { exception, matches } of this.#patterns) {
      // A pattern that would change nothing is not looked at.
      if (exception !== ignored) continue
      if (matches(path) || parents.some(matches)) ignored = !exception
    }
    return ignored
  }

  /** True when something in a folder that is left out may be taken after all. */
  mayTakeWithin(folder: string): boolean {
    return this.#patterns.some(({ exception, text }) => exception && mayBeWithin(text, folder))
  }
}

function readPatterns(text: string): string[] {
  const patterns: string[] = []
  for (const line of text.replace(/^\uFEFF/, '').split(/\r?\n/)) {
    if (line.startsWith('#')) continue
    const trimmed = line.trim()
    if (trimmed === '') continue
    const exception = trimmed.startsWith('!')
    let path = exception ? trimmed.slice(1).trim() : trimmed
    if (path === '') throw badPattern(trimmed)
    path = clean(path)
    if (path.length > 1 && path.startsWith('/')) path = path.slice(1)
    patterns.push(exception ? `!${path}` : path)
  }
  return patterns
}

function compile(pattern: string): Pattern {
  const exception = pattern.startsWith('!')
  const text = exception ? clean(pattern.slice(1)) : pattern
  checkSyntax(text, pattern)
  return { exception, text, matches: matcher(text, pattern) }
}

/** A pattern as a test of one path. The shapes without other wildcards need no regular expression. */
function matcher(text: string, pattern: string): (path: string) => boolean {
  if (!/[*?[\]\\]/.test(text)) return (path) => path === text
  if (/^[^*?[\]\\]*\*\*$/.test(text)) {
    const prefix = text.slice(0, -2)
    return (path) => path.startsWith(prefix)
  }
  if (/^\*\*[^*?[\]\\]*$/.test(text)) {
    const suffix = text.slice(2)
    // `**x` is whatever ends in `x`, in BuildKit as in its predecessors; `**/x` is also `x` itself.
    return (path) => path.endsWith(suffix) || (suffix.startsWith('/') && path === suffix.slice(1))
  }
  try {
    const expression = new RegExp(`^${translate(text)}$`, 'su')
    return (path) => expression.test(path)
  } catch {
    throw badPattern(pattern)
  }
}

function translate(text: string): string {
  let expression = ''
  const chars = [...text]
  for (let at = 0; at < chars.length; at += 1) {
    const char = chars[at] as string
    if (char === '*' && chars[at + 1] === '*') {
      at += 1
      if (chars[at + 1] === '/') at += 1
      expression += at + 1 >= chars.length ? '.*' : '(?:.*/)?'
    } else if (char === '*') expression += '[^/]*'
    else if (char === '?') expression += '[^/]'
    else if (char === '[') {
      const end = classEnd(chars, at)
      expression += characterClass(chars.slice(at + 1, end))
      at = end
    } else if (char === '\\') {
      at += 1
      expression += literal(chars[at] ?? '\\')
    } else expression += literal(char)
  }
  return expression
}

/** `[…]` of a pattern. Nothing but `^` at its front, ranges and escapes have a meaning in it. */
function characterClass(chars: string[]): string {
  const negated = chars[0] === '^'
  let body = ''
  for (let at = negated ? 1 : 0; at < chars.length; at += 1) {
    const char = chars[at] as string
    if (char === '-' && body !== '' && at + 1 < chars.length) body += '-'
    else if (char === '\\') {
      at += 1
      body += inClass(chars[at] ?? '\\')
    } else body += inClass(char)
  }
  return `[${negated ? '^' : ''}${body}]`
}

function classEnd(chars: string[], start: number): number {
  for (let at = start + 1; at < chars.length; at += 1) {
    if (chars[at] === '\\') at += 1
    else if (chars[at] === ']' && at > start + 1) return at
  }
  return chars.length
}

const literal = (char: string) => char.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&')
const inClass = (char: string) => char.replace(/[\\\]^[-]/, '\\$&')

/** Unclosed classes and a backslash at the end are errors, as they are in Go's `filepath.Match`. */
function checkSyntax(text: string, pattern: string): void {
  const chars = [...text]
  for (let at = 0; at < chars.length; at += 1) {
    if (chars[at] === '\\') {
      at += 1
      if (at >= chars.length) throw badPattern(pattern)
    } else if (chars[at] === '[') {
      const end = classEnd(chars, at)
      if (end >= chars.length) throw badPattern(pattern)
      at = end
    }
  }
}

/** Whether a pattern can match something below a folder, as far as that can be told without the names in it. */
function mayBeWithin(pattern: string, folder: string): boolean {
  const wanted = pattern.split('/')
  const given = folder.split('/')
  for (const [index, part] of given.entries()) {
    const there = wanted[index]
    // The pattern names this folder or one above it: all within is meant.
    if (there === undefined || there.includes('**')) return true
    if (!matcher(there, pattern)(part)) return false
  }
  return true
}

/** `a/b/c` → `a`, `a/b`. */
function parentsOf(path: string): string[] {
  const parents: string[] = []
  for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) parents.push(path.slice(0, at))
  return parents
}

function clean(path: string): string {
  const normal = posix.normalize(path)
  return normal.length > 1 ? normal.replace(/\/$/, '') : normal
}

function badPattern(pattern: string): CoppiceError {
  return new CoppiceError(
    'invalid_argument',
    'bad_ignore_pattern',
    `.dockerignore has a pattern that cannot be read: ${pattern}`,
    {
      facts: { pattern },
      hint: 'Correct that line of .dockerignore.',
    },
  )
}
