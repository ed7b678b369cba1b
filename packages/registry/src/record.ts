import { hash, randomBytes } from 'node:crypto'
import { CoppiceError } from '@coppice/protocol/wire'
import type { EntryValue, SkipReason } from './store.ts'

/** The schema number that this build writes. It reads this one and older ones; newer ones are left alone. */
export const RECORD_SCHEMA = 1

/** The largest entry that is read or written, bytes: 8 MiB. A damaged file cannot fill the memory. */
export const MAX_RECORD_BYTES = 8 * 1024 * 1024

/** The longest id, bytes of UTF-8. */
export const MAX_ID_BYTES = 4096

/** What a file holds: one version of one entry. A version without a value is a tombstone: the entry was removed. */
export interface EntryRecord {
  schema: number
  kind: string
  id: string
  version: number
  /** Random, new with every version: tells two versions apart that have the same number. */
  nonce: string
  /** Absent in a tombstone. */
  value?: EntryValue
  /** Unix time in milliseconds, in a tombstone only. */
  removedAt?: number
  /** True in the marker that a sweeper puts into the slot of a tombstone which it is about to forget. */
  purge?: boolean
}

/** A file that is no record of ours, and why. */
export class BadRecord extends Error {
  readonly reason: SkipReason
  /** The file, where it is known. */
  path: string | undefined
  constructor(reason: SkipReason, detail: string) {
    super(detail)
    this.reason = reason
  }
}

/** True for the name of a kind: lower-case letters, digits and "-", at most 63, starting with a letter. */
export function isKind(name: string): boolean {
  return /^[a-z][a-z0-9-]{0,62}$/.test(name)
}

/** Throws `invalid_argument/invalid_kind`. */
export function checkKind(kind: string): void {
  if (!isKind(kind)) {
    throw new CoppiceError('invalid_argument', 'invalid_kind', `"${kind}" is not the name of a kind.`)
  }
}

/**
 * The 64 hex digits that name an id's file. Ids are hashed by their bytes, so any id is safe as a name, and two spellings
 * that look alike (NFC and NFD) stay two ids. Throws `invalid_argument/invalid_id`.
 */
export function fileStem(id: string): string {
  if (typeof id !== 'string' || id.length === 0 || !id.isWellFormed() || Buffer.byteLength(id) > MAX_ID_BYTES) {
    throw new CoppiceError('invalid_argument', 'invalid_id', `An id is 1 to ${MAX_ID_BYTES} bytes of valid Unicode.`)
  }
  return hash('sha256', id)
}

/** 128 random bits, hex. */
export function newNonce(): string {
  return randomBytes(16).toString('hex')
}

/** Throws `invalid_argument/invalid_value` for what is no JSON object, or too large. */
export function encodeRecord(record: EntryRecord): Buffer {
  if (record.value !== undefined && !isPlainObject(record.value)) {
    throw new CoppiceError('invalid_argument', 'invalid_value', 'The value of an entry is a JSON object.')
  }
  let bytes: Buffer
  try {
    bytes = Buffer.from(`${JSON.stringify(record)}\n`)
  } catch (cause) {
    throw new CoppiceError('invalid_argument', 'invalid_value', 'The value cannot be written as JSON.', { cause })
  }
  if (bytes.length > MAX_RECORD_BYTES) {
    throw new CoppiceError('invalid_argument', 'invalid_value', `An entry is at most ${MAX_RECORD_BYTES} bytes.`, {
      facts: { bytes: bytes.length },
    })
  }
  return bytes
}

/** The record in `bytes`, checked against where it was found. Throws `BadRecord`. */
export function decodeRecord(bytes: Buffer, kind: string, stem: string): EntryRecord {
  let raw: unknown
  try {
    raw = JSON.parse(bytes.toString('utf8'))
  } catch {
    throw new BadRecord('corrupt', bytes.length === 0 ? 'The file is empty.' : 'The file holds no valid JSON.')
  }
  if (!isPlainObject(raw)) throw new BadRecord('corrupt', 'The file holds no JSON object.')
  const record = raw as Partial<EntryRecord>
  if (!isCount(record.schema)) throw new BadRecord('corrupt', 'The record has no schema number.')
  if (record.schema > RECORD_SCHEMA) {
    throw new BadRecord('future_schema', `Schema ${record.schema} is newer than ${RECORD_SCHEMA}, which is known here.`)
  }
  const wellFormed =
    typeof record.id === 'string' &&
    typeof record.nonce === 'string' &&
    /^[0-9a-f]{32}$/.test(record.nonce) &&
    isCount(record.version) &&
    (isPlainObject(record.value) || (record.value === undefined && isCount(record.removedAt)))
  if (!wellFormed) throw new BadRecord('corrupt', 'The record lacks fields or has them in another shape.')
  if (record.kind !== kind || !belongsTo(record.id, stem)) {
    throw new BadRecord('wrong_name', 'The record belongs to another kind or id than its file name says.')
  }
  return raw as unknown as EntryRecord
}

function belongsTo(id: string | undefined, stem: string): boolean {
  try {
    return fileStem(id ?? '') === stem
  } catch {
    return false
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1
}

/** True for what JSON calls an object. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
