import { readdir, stat, unlink } from 'node:fs/promises'
import { DRAFT_MAX_AGE_MS, purge, readBase } from './chain.ts'
import { errnoOf } from './faults.ts'
import type { KindFolder } from './kind-folder.ts'
import { readEach } from './list-folder.ts'
import { BadRecord, type EntryRecord } from './record.ts'

/** How long a removal is remembered: 7 days, in milliseconds. A late writer of a removed entry has that long to notice. */
export const TOMBSTONE_AGE_MS = 7 * 24 * 3_600_000

const PASSING_NAME = /^([0-9a-f]{64})\.([0-9a-f]{32})\.(new|next)$/

/**
 * Removes what crashed writers left behind and forgets old removals. Safe beside any number of readers and writers, but
 * only one process may sweep a registry at a time: the gateway of the home.
 */
export async function sweepFolder(folder: KindFolder, now: number): Promise<{ leftovers: number; tombstones: number }> {
  const leftovers = await sweepLeftovers(folder, now)
  const old: [string, EntryRecord][] = []
  await readEach(folder, {
    record: (_file, record, stem) => {
      if (record.value === undefined && now - (record.removedAt ?? now) > TOMBSTONE_AGE_MS) old.push([stem, record])
    },
    skip: () => undefined,
  })
  for (const [stem, tombstone] of old) await purge(folder, stem, tombstone)
  if (old.length > 0) await folder.sync()
  return { leftovers, tombstones: old.length }
}

async function sweepLeftovers(folder: KindFolder, now: number): Promise<number> {
  let swept = 0
  for (const name of await namesIn(folder)) {
    const [, stem, nonce, suffix] = PASSING_NAME.exec(name) ?? []
    if (!stem || !nonce || !(await isOlder(`${folder.path}/${name}`, now))) continue
    const base = await settledBase(folder, stem)
    if (base === 'damaged') continue
    // What still stands in the slot of the current base is a purge that was cut off, or damaged: not ours to take away.
    if (suffix === 'next' && base !== 'none' && base.nonce === nonce) continue
    await unlink(`${folder.path}/${name}`).catch(() => undefined)
    swept++
  }
  return swept
}

async function namesIn(folder: KindFolder): Promise<string[]> {
  try {
    return await readdir(folder.path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw error
  }
}

/** Reading the base publishes whatever still can be, so that what remains afterwards is not needed. */
async function settledBase(folder: KindFolder, stem: string): Promise<EntryRecord | 'none' | 'damaged'> {
  try {
    return (await readBase(folder, stem)) ?? 'none'
  } catch (error) {
    if (error instanceof BadRecord) return 'damaged'
    throw error
  }
}

async function isOlder(path: string, now: number): Promise<boolean> {
  try {
    return now - (await stat(path)).mtimeMs > DRAFT_MAX_AGE_MS
  } catch {
    return false
  }
}
