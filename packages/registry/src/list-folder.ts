import { readdir } from 'node:fs/promises'
import { readBase } from './chain.ts'
import { errnoOf, registryFault } from './faults.ts'
import type { KindFolder } from './kind-folder.ts'
import { FETCHED_AT_ONCE, FROM_DISK_MS, prefetch } from './prefetch.ts'
import { BadRecord, type EntryRecord } from './record.ts'
import { readRecord } from './record-file.ts'
import { Slices } from './slices.ts'
import type { Entry, EntryValue, Listing, Parse, Skipped, SkipReason } from './store.ts'

/** Hex digits of a sha256. */
const STEM_LENGTH = 64

const BASE_NAME = /^([0-9a-f]{64})\.json$/
const PASSING_NAME = /^[0-9a-f]{64}\.[0-9a-f]{32}\.(new|next)$/

/** Everything in a kind's folder. Throws only when the folder itself cannot be read. */
export async function listFolder<T extends EntryValue>(folder: KindFolder, parse: Parse<T>): Promise<Listing<T>> {
  const entries: Entry<T>[] = []
  const skipped: Skipped[] = []
  await readEach(folder, {
    record: (file, record) => {
      if (record.value === undefined) return
      try {
        entries.push({ id: record.id, version: record.version, value: parse(record.value) })
      } catch (error) {
        skipped.push({ file, reason: 'invalid_value', detail: error instanceof Error ? error.message : String(error) })
      }
    },
    skip: (file, reason, detail) => skipped.push({ file, reason, detail }),
  })
  entries.sort((a, b) => byCodeUnits(a.id, b.id))
  skipped.sort((a, b) => byCodeUnits(a.file, b.file))
  return { entries, skipped }
}

/** Who is told about each file of a folder, in no particular order. */
export interface FolderVisitor {
  record(file: string, record: EntryRecord, stem: string): void
  skip(file: string, reason: SkipReason, detail: string): void
}

/**
 * Reads every record of a folder, tombstones included. The event loop turns every few milliseconds, and where a record has to
 * come from the disk the next ones are fetched beside it.
 */
export async function readEach(folder: KindFolder, visitor: FolderVisitor): Promise<void> {
  const names = await folderNames(folder)
  const slices = new Slices()
  // The names of a large folder have held the event loop for some milliseconds when they arrive.
  await slices.next()
  const unsettled = new Set<string>()
  const stems: string[] = []
  for (const name of names) {
    const stem = BASE_NAME.exec(name)?.[1]
    if (stem) stems.push(stem)
    else if (!PASSING_NAME.test(name)) visitor.skip(name, 'foreign', 'Its name is none of the registry.')
    else if (name.endsWith('.next')) unsettled.add(name.slice(0, STEM_LENGTH))
    if (slices.isOver()) await slices.next()
  }
  let fetched = 0
  for (const [at, stem] of stems.entries()) {
    const start = performance.now()
    await visit(folder, stem, unsettled.has(stem), visitor)
    if (at >= fetched && performance.now() - start > FROM_DISK_MS) {
      fetched = at + 1 + FETCHED_AT_ONCE
      await prefetch(stems.slice(at + 1, fetched).map((next) => folder.base(next)))
    }
    if (slices.isOver()) await slices.next()
  }
  await slices.next()
}

/** An entry that nobody was changing when the folder was read needs no look at its slot. */
async function visit(folder: KindFolder, stem: string, unsettled: boolean, visitor: FolderVisitor): Promise<void> {
  const path = folder.base(stem)
  const file = `${stem}.json`
  try {
    const record = unsettled ? await readBase(folder, stem) : readRecord(path, folder.kind, stem)
    if (record) visitor.record(file, record, stem)
  } catch (error) {
    if (error instanceof BadRecord) visitor.skip(file, error.reason, error.message)
    else visitor.skip(file, 'unreadable', registryFault(error, path).message)
  }
}

async function folderNames(folder: KindFolder): Promise<string[]> {
  try {
    return await readdir(folder.path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    await folder.checkRegistry()
    return []
  }
}

function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
