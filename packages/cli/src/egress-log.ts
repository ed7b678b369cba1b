import type { EgressRecord } from '@coppice/sdk'
import { bytes, oneLine, table } from './table.ts'

/** What a sandbox asked for outside, as columns. Names come from inside and are shown without what could move a cursor. */
export function egressTable(records: EgressRecord[]): string {
  return table(['TIME', 'EXEC', 'NAME', 'ADDRESS', 'PORT', 'OUT', 'IN', 'VERDICT', 'RULE'], records.map(row))
}

function row(record: EgressRecord): string[] {
  const { at, kind, exec, name, address, port, verdict, rule, end } = record
  const connection = kind === 'connection'
  // How it ended is worth a word where it did not just end.
  const ending = end === null || end === 'closed' || end === verdict ? '' : ` (${end})`
  return [
    new Date(at).toISOString().slice(0, 19).replace('T', ' '),
    oneLine(exec ?? '-', 24),
    oneLine(name ?? '-', 60),
    oneLine(address ?? '-', 45),
    port === null ? (connection ? '-' : 'dns') : String(port),
    connection ? bytes(record.bytesOut) : '-',
    connection ? bytes(record.bytesIn) : '-',
    verdict,
    oneLine(`${rule}${ending}`, 120),
  ]
}
