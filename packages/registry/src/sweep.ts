import { readdir, stat, unlink } from 'node:fs/promises'
import { DRAFT_MAX_AGE_MS, purge, settledBase } from './chain.ts'
import { errnoOf } from './faults.ts'
import type { KindFolder } from './kind-folder.ts'
import { readEach } from './list-folder.ts'
import { BadRecord, type EntryRecord } from './record.ts'

/** How long a removal is remembered: 7 days, in milliseconds. A late writer of a removed entry has that long to notice. */
export const TOMBSTONE_AGE_MS = 7 * 24 * 3_600_000

const PASSING_NAME = /^([0-9a-f]{64})\.([0-9a-f]{32})\.(new|next)$/

/** What a sweep removed. */
export interface SweepResult {
  /** Files that crashed writers left behind. */
  leftovers: number
  /** Removals that were remembered long enough. */
  tombstones: number
  /** Paths that could not be swept, and why. They hinder nothing but their own removal. */
  failed: { path: string; detail: string }[]
}

/**
 * Removes what crashed writers left behind and forgets old removals. Safe beside any number of readers and writers, but
 * only one process may sweep a registry at a time: the gateway of the home. What cannot be swept is in `failed` and keeps
 * nothing else from being swept; throws only when the folder itself cannot be read.
 */
export async function sweepFolder(
  folder: KindFolder,
  now: number,
  tombstoneMs = TOMBSTONE_AGE_MS,
): Promise<SweepResult> {
  const result: SweepResult = { leftovers: 0, tombstones: 0, failed: [] }
  for (const name of await namesIn(folder)) {
    const path = `${folder.path}/${name}`
    await attempt(result, path, async () => {
      if (await sweepLeftover(folder, name, now)) result.leftovers++
    })
  }
  const old: [string, EntryRecord][] = []
  await readEach(folder, {
    record: (_file, record, stem) => {
      if (record.value === undefined && now - (record.removedAt ?? now) > tombstoneMs) old.push([stem, record])
    },
    skip: () => undefined,
  })
  for (const [stem, tombstone] of old) {
    await attempt(result, folder.base(stem), async () => {
      if (await purge(folder, stem, tombstone)) result.tombstones++
    })
  }
  if (result.tombstones > 0) await folder.sync()
  return result
}

async function attempt(result: SweepResult, path: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof BadRecord) && errnoOf(error) === undefined) throw error
    result.failed.push({ path, detail: (error as Error).message })
  }
}

/** True when the file was a leftover and is gone. */
async function sweepLeftover(folder: KindFolder, name: string, now: number): Promise<boolean> {
  const [, stem, nonce, suffix] = PASSING_NAME.exec(name) ?? []
  if (!stem || !nonce || !(await isOlder(`${folder.path}/${name}`, now))) return false
  // Reading the base publishes whatever still can be, so that what remains afterwards is not needed.
  const base = await settledBase(folder, stem)
  // What still stands in the slot of the current base is a purge that was cut off, or damaged: not ours to take away.
  if (suffix === 'next' && base?.nonce === nonce) return false
  return (await removeIfThere(`${folder.path}/${name}`)) === 'removed'
}

async function removeIfThere(path: string): Promise<'removed' | 'gone'> {
  try {
    await unlink(path)
    return 'removed'
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'gone'
    throw error
  }
}

async function namesIn(folder: KindFolder): Promise<string[]> {
  try {
    return await readdir(folder.path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

async function isOlder(path: string, now: number): Promise<boolean> {
  try {
    return now - (await stat(path)).mtimeMs > DRAFT_MAX_AGE_MS
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}
