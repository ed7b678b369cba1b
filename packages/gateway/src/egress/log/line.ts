import type { EgressRecord } from '@coppice/protocol'

/** Every line starts like this: what tells the lines of one connection is found without parsing the rest. */
const ID_START = '{"id":"'

/** One line. A connection has two with the same id: one when it was opened, one at its end that replaces it. */
export function encodeLine(id: string, record: EgressRecord): string {
  return `${ID_START}${id}",${JSON.stringify(record).slice(1)}\n`
}

/** The id of a line, as text of its place in the bytes; undefined when the line was cut short or is none. */
export function lineId(bytes: Buffer, from: number, to: number): string | undefined {
  if (to - from < ID_START.length + 2 || bytes[to - 1] !== 0x7d) return undefined
  if (bytes.toString('latin1', from, from + ID_START.length) !== ID_START) return undefined
  const end = bytes.indexOf(0x22, from + ID_START.length)
  return end < 0 || end >= to ? undefined : bytes.toString('latin1', from + ID_START.length, end)
}

/** The record of a line; undefined for a line that cannot be read. */
export function decodeLine(text: string): EgressRecord | undefined {
  try {
    const { id: _, ...record } = JSON.parse(text) as EgressRecord & { id: string }
    return record
  } catch {
    return undefined
  }
}
