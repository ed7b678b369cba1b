import { badArchive } from '../faults.ts'

/** Key and value as byte strings (latin1). */
export type PaxRecords = Map<string, string>

/**
 * The records of a pax header: `<length> <key>=<value>\n` each, length in bytes over all of it. Throws
 * `invalid_argument/archive_malformed`.
 */
export function parsePax(body: Buffer): PaxRecords {
  const records: PaxRecords = new Map()
  let at = 0
  while (at < body.length && body[at] !== 0) {
    const space = body.indexOf(0x20, at)
    const digits = space === -1 || space - at > 10 ? '' : body.toString('latin1', at, space)
    const end = at + Number(digits)
    if (!/^[1-9][0-9]*$/.test(digits) || end > body.length || end <= space + 1 || body[end - 1] !== 0x0a)
      throw malformed()
    const equals = body.indexOf(0x3d, space)
    if (equals === -1 || equals >= end) throw malformed()
    records.set(body.toString('latin1', space + 1, equals), body.toString('latin1', equals + 1, end - 1))
    at = end
  }
  return records
}

function malformed() {
  return badArchive('archive_malformed', 'A pax header holds a record that cannot be read.')
}
