/**
 * Finding the rows of a legacy file `{"entries":[ROW, ROW, …]}` without trusting it to be valid JSON as a whole: one bad row must
 * not cost its neighbours, and what is put aside must be the file's own bytes.
 */

/** A part of a file, byte offsets. */
export interface Slice {
  start: number
  end: number
}

/** Bytes that are read in vain, in all, while good rows are looked for behind bad ones: about a second's work. */
const MAX_LOST_BYTES = 256 * 1024 * 1024
/** A row longer than this is not looked for behind a bad one, bytes. */
const MAX_RESYNC_ROW = 1024 * 1024

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const BRACKET = 0x5b
const BRACKET_END = 0x5d
const BRACE = 0x7b
const BRACE_END = 0x7d
const PARTNER = new Map([
  [BRACKET, BRACKET_END],
  [BRACE, BRACE_END],
])
const SPACE = new Set([0x20, 0x09, 0x0a, 0x0d])

/**
 * The rows of the `entries` array, in order, good and bad. `isGood` says whether a slice is a row that can be used. Undefined when
 * there is no such array.
 */
export function findRows(bytes: Buffer, isGood: (slice: Slice) => boolean): Slice[] | undefined {
  let at = startOfEntries(bytes)
  if (at === undefined) return undefined
  const rows: Slice[] = []
  let budget = MAX_LOST_BYTES
  for (;;) {
    at = skipSpace(bytes, at)
    const byte = bytes[at]
    if (byte === undefined || byte === BRACKET_END) return rows
    if (byte === COMMA || byte === BRACE_END) {
      at += 1
      continue
    }
    const { end, closed } = endOfValue(bytes, at, bytes.length)
    if (closed) {
      rows.push({ start: at, end })
      at = end
      continue
    }
    // A quote or bracket is missing: where this row ends cannot be believed, and it may have swallowed its neighbours.
    budget -= end - at
    let next = nextRowStart(bytes, at + 1)
    for (; next !== undefined && budget > 0; next = nextRowStart(bytes, next + 1)) {
      const candidate = endOfValue(bytes, next, Math.min(bytes.length, next + MAX_RESYNC_ROW))
      if (candidate.closed && isGood({ start: next, end: candidate.end })) break
      budget -= candidate.end - next
    }
    const stop = budget > 0 && next !== undefined ? next : budget > 0 ? end : bytes.length
    rows.push({ start: at, end: trimmed(bytes, at, stop) })
    at = stop
  }
}

/** Where the array of the top-level member `entries` begins, behind its bracket. */
function startOfEntries(bytes: Buffer): number | undefined {
  let depth = 0
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0
    if (PARTNER.has(byte)) depth += 1
    else if (byte === BRACKET_END || byte === BRACE_END) depth -= 1
    else if (byte === QUOTE) {
      const end = endOfString(bytes, at, bytes.length)
      const found =
        depth === 1 && bytes.toString('latin1', at, end) === '"entries"' ? arrayAfter(bytes, end) : undefined
      if (found !== undefined) return found
      at = end - 1
    }
  }
  return undefined
}

function arrayAfter(bytes: Buffer, end: number): number | undefined {
  const colon = skipSpace(bytes, end)
  if (bytes[colon] !== COLON) return undefined
  const bracket = skipSpace(bytes, colon + 1)
  return bytes[bracket] === BRACKET ? bracket + 1 : undefined
}

/** Where a value ends that begins at `start`, and whether its own brackets say so. */
function endOfValue(bytes: Buffer, start: number, limit: number): { end: number; closed: boolean } {
  const expected: number[] = []
  for (let at = start; at < limit; at += 1) {
    const byte = bytes[at] ?? 0
    const partner = PARTNER.get(byte)
    if (byte === QUOTE) {
      const end = endOfString(bytes, at, limit)
      // JSON has no line breaks in strings: one there means that a quote is missing.
      if (bytes.subarray(at, end).includes(0x0a)) return { end: limit, closed: false }
      at = end - 1
    } else if (partner !== undefined) expected.push(partner)
    else if (byte === BRACKET_END || byte === BRACE_END) {
      if (expected.length === 0 || expected.pop() !== byte) return { end: trimmed(bytes, start, at), closed: false }
      if (expected.length === 0) return { end: at + 1, closed: true }
    } else if (byte === COMMA && expected.length === 0) return { end: trimmed(bytes, start, at), closed: true }
  }
  return { end: limit, closed: false }
}

function endOfString(bytes: Buffer, start: number, limit: number): number {
  for (let at = start + 1; at < limit; at += 1) {
    if (bytes[at] === BACKSLASH) at += 1
    else if (bytes[at] === QUOTE) return at + 1
  }
  return limit
}

/** The next brace that stands behind a comma or another brace. */
function nextRowStart(bytes: Buffer, from: number): number | undefined {
  for (let at = bytes.indexOf(BRACE, from); at !== -1; at = bytes.indexOf(BRACE, at + 1)) {
    let before = at - 1
    while (SPACE.has(bytes[before] ?? 0)) before -= 1
    if (bytes[before] === COMMA || bytes[before] === BRACE_END) return at
  }
  return undefined
}

function skipSpace(bytes: Buffer, from: number): number {
  let at = from
  while (SPACE.has(bytes[at] ?? 0)) at += 1
  return at
}

/** `end` without the commas and spaces before it. */
function trimmed(bytes: Buffer, start: number, end: number): number {
  let at = end
  while (at > start + 1 && (SPACE.has(bytes[at - 1] ?? 0) || bytes[at - 1] === COMMA)) at -= 1
  return at
}
