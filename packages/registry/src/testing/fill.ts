import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodeRecord, newNonce, RECORD_SCHEMA } from '../record.ts'

/** How one entry is on disk: as it should be, with rubbish in its file, or readable by its owner alone. */
export type Condition = 'good' | 'corrupt' | 'closed'

/** The id of entry number `at` of a filled kind. */
export function filledId(at: number): string {
  return `sb-${at}`
}

/**
 * Writes many entries of about 700 bytes, or with other values, as files and without the store's syncs: 10,000 in a second. Good ones
 * may be read by everybody.
 */
export function fillKind(
  place: string,
  kind: string,
  count: number,
  condition: (at: number) => Condition,
  valueFor: (id: string, at: number) => object = smallValue,
): void {
  mkdirSync(join(place, kind), { recursive: true, mode: 0o700 })
  for (let at = 0; at < count; at++) {
    const id = filledId(at)
    const value = valueFor(id, at)
    const bytes = encodeRecord({ schema: RECORD_SCHEMA, kind, id, version: 1, nonce: newNonce(), value })
    const how = condition(at)
    const path = join(place, kind, `${createHash('sha256').update(id).digest('hex')}.json`)
    writeFileSync(path, how === 'corrupt' ? bytes.subarray(0, 100) : bytes, { mode: how === 'closed' ? 0o600 : 0o644 })
  }
}

function smallValue(id: string): object {
  return { id, image: `sha256:${'5'.repeat(64)}`, labels: {}, note: 'x'.repeat(500) }
}
