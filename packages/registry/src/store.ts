/**
 * # Stores
 *
 * A registry is the durable record of everything that Coppice knows: sandboxes, images, checkpoints. It has one store per
 * **kind**; a store holds **entries** by id. This file is the manual; `describeStore` (contract.ts) is the examination that
 * every store passes, whatever it is made of.
 *
 * - An entry's **version** is its generation: 1 when it is created, one more with every change. A removed id can be created
 *   anew; its versions go on from where they were as long as the removal is remembered.
 * - Changes are **compare-and-swap**. `update` runs its function again on the newer value when somebody else was faster, so
 *   that function must be free of side effects. Writers of different entries never wait for one another.
 * - **One bad entry never hides another.** `list` returns what is good and, beside it, what was skipped and why.
 * - **"Cannot look" is never "not there".** A permission, a full disk, an I/O error is a typed error, and never `undefined`,
 *   never an empty list.
 * - A crash or power cut at any instant leaves the old or the new entry, whole. A change that was acknowledged stays.
 *
 * Values are JSON objects and opaque to the store. A kind may have a `parse` function, which gets what is on disk and
 * returns the value or throws. Fields that it does not know are kept: what a newer version has written survives an update
 * by this one.
 *
 * ## Errors (`CoppiceError`)
 * | code / reason | when |
 * |---|---|
 * | `invalid_argument/invalid_id`, `invalid_kind`, `invalid_value` | the arguments cannot be stored |
 * | `not_found/entry_not_found` | `update` of an id that has no entry |
 * | `already_exists/entry_exists` | `put` with `expect: 'absent'` and there is one |
 * | `conflict/version_mismatch` | the entry has not the expected version; `facts.expected`, `facts.actual` (null: none) |
 * | `failed_precondition/entry_unreadable` | this one entry is damaged, of a newer version, or refused by `parse`; `facts.skip` says which. It is never overwritten |
 * | `permission_denied/registry_permission`, `resource_exhausted/disk_full`, `unavailable/registry_io` | the store itself cannot be read or written |
 * | `unavailable/entry_contended` | other writers won for 30 s on end |
 * | `unavailable/outcome_unknown` | the change may or may not have happened: read the entry again |
 */

/** A JSON object. */
export type EntryValue = object

/** An entry as it is read. */
export interface Entry<T extends EntryValue> {
  readonly id: string
  /** Generation: 1 or more, one more with every change. */
  readonly version: number
  readonly value: T
}

/** Why something in a store's place is not listed. */
export type SkipReason =
  | 'corrupt'
  | 'too_large'
  | 'wrong_name'
  | 'future_schema'
  | 'invalid_value'
  | 'not_a_file'
  | 'foreign'
  | 'unreadable'

export interface Skipped {
  /** Its name in the store: a file name, or a row's key. */
  readonly file: string
  readonly reason: SkipReason
  /** One sentence. */
  readonly detail: string
}

/** Whether what could not be read may be an entry, with anything in it. A file with another's name is none. */
export function mayBeEntries(skipped: readonly Skipped[]): boolean {
  return skipped.some(({ reason }) => reason !== 'foreign')
}

export interface Listing<T extends EntryValue> {
  /** In the order of their ids, compared by UTF-16 code units, whatever the locale. */
  readonly entries: Entry<T>[]
  readonly skipped: Skipped[]
}

export interface PutOptions {
  /** A version: only replace exactly that one. `'absent'`: only create. Absent: create or replace, whatever is there. */
  expect?: number | 'absent'
}

export interface UpdateOptions {
  /** True for what ends something, or says that it has ended: on a full disk it may use the room that is kept for that. */
  reserve?: boolean
}

export interface RemoveOptions {
  /** Only remove exactly that version. */
  expect?: number
}

/** Turns what is on disk into a value, or throws. Usually a zod schema's `parse`. */
export type Parse<T extends EntryValue> = (value: unknown) => T

/**
 * Computes the next value from the current one. It may be called several times and must not change its argument. Returning
 * undefined leaves the entry as it is.
 */
export type Change<T extends EntryValue> = (value: T, version: number) => T | undefined | Promise<T | undefined>

export interface Store<T extends EntryValue> {
  /** One entry, or undefined. Costs the same with 10,000 siblings, and with damaged ones. */
  get(id: string): Promise<Entry<T> | undefined>
  /**
   * All entries at one time.
   * @param keep makes of each value what is listed of it, as soon as it is read: no two whole ones need be in memory at once
   */
  list(keep?: (value: T) => T): Promise<Listing<T>>
  put(id: string, value: T, options?: PutOptions): Promise<Entry<T>>
  /** Compare-and-swap until it lands. */
  update(id: string, change: Change<T>, options?: UpdateOptions): Promise<Entry<T>>
  /** False when there was nothing to remove. Works on a full disk. Without `expect`, an update in flight never brings the entry back. */
  remove(id: string, options?: RemoveOptions): Promise<boolean>
}

/** All kinds together. Kinds need no registration: a name is enough. */
export interface Registry {
  /** @param name lower-case letters, digits and "-", at most 63, starting with a letter. */
  kind<T extends EntryValue>(name: string, parse?: Parse<T>): Store<T>
}
