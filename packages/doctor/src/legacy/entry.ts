import { fileName } from './names.ts'

/** What a registry entry of the kinds `containers` and `browsers` holds: the legacy row, and what marks it as not ours. */
export interface ForeignEntry {
  containerName: string
  /** True: it belongs to another system, and reconciliation never ends it. */
  foreign: true
  backendId: unknown
  runtimeLabel: unknown
  configLabelKind: unknown
  [field: string]: unknown
}

/** A row as it is read, or why it cannot be used. */
export type ReadRow = { entry: ForeignEntry; problem?: undefined } | { entry?: undefined; problem: string }

/** Fields of a row that have one type, where they are there. */
const TYPES: Record<string, 'number' | 'string'> = {
  createdAtMs: 'number',
  lastUsedAtMs: 'number',
  image: 'string',
  sessionKey: 'string',
  configHash: 'string',
}

/** The longest name of a container, bytes: what the registry takes as an id. */
const MAX_NAME_BYTES = 4096

/** Reads one row or one sharded file. Unknown fields are kept, numbers among them digit by digit. */
export function readRow(bytes: Buffer): ReadRow {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: false }).decode(bytes)
  } catch {
    return { problem: 'It is not valid UTF-8.' }
  }
  let row: unknown
  try {
    row = JSON.parse(text)
  } catch {
    return { problem: text.trim() === '' ? 'It is empty.' : 'It is not valid JSON.' }
  }
  const problem = problemOf(row)
  if (problem !== undefined) return { problem }
  const exact = JSON.parse(text, keepDigits) as Record<string, unknown>
  const { containerName } = row as { containerName: string }
  return {
    entry: {
      ...exact,
      containerName,
      foreign: true,
      backendId: own(exact, 'backendId') ?? 'docker',
      runtimeLabel: own(exact, 'runtimeLabel') ?? containerName,
      configLabelKind: own(exact, 'configLabelKind') ?? 'Image',
    },
  }
}

/** The same for a sharded file, whose name has to belong to the row. @param file its name without folder */
export function readShard(bytes: Buffer, file: string): ReadRow {
  const row = readRow(bytes)
  if (row.entry && fileName(row.entry.containerName) !== file) {
    return { problem: `It is named after another container than the one in it, "${row.entry.containerName}".` }
  }
  return row
}

function problemOf(row: unknown): string | undefined {
  if (typeof row !== 'object' || row === null || Array.isArray(row)) return 'It is no JSON object.'
  const fields = row as Record<string, unknown>
  const { containerName } = fields
  if (typeof containerName !== 'string' || containerName === '') return 'It has no containerName.'
  if (!containerName.isWellFormed() || Buffer.byteLength(containerName) > MAX_NAME_BYTES) {
    return `Its containerName is not 1 to ${MAX_NAME_BYTES} bytes of valid Unicode.`
  }
  for (const [field, type] of Object.entries(TYPES)) {
    const value = own(fields, field)
    if (value !== undefined && value !== null && typeof value !== type) return `Its ${field} is no ${type}.`
  }
  return undefined
}

function own(row: Record<string, unknown>, field: string): unknown {
  return Object.hasOwn(row, field) ? row[field] : undefined
}

/** Numbers that JavaScript would write otherwise (too long, `1.0`) stay as they were written. */
function keepDigits(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || context?.source === undefined || String(value) === context.source) return value
  return (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON(context.source)
}
