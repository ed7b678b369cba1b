/**
 * # One entry's chain of versions, without a lock
 *
 * Files of an entry, in its kind's folder (`stem` is the sha256 of the id):
 *
 * | name | what |
 * |---|---|
 * | `<stem>.json` | the **base**: the current version |
 * | `<stem>.<nonce>.new` | a **draft**: a version that somebody is about to publish. Its name is never used twice |
 * | `<stem>.<parent's nonce>.next` | the **slot** of a version: a hard link to the one draft that may follow it |
 *
 * To follow version *p* with version *d*: write and sync the draft *d*; `link` it to the slot of *p* (the file system
 * lets exactly one such link succeed); look whether the base still is *p*; `rename` the draft over the base; remove the
 * slot. The first version of all is linked straight to the base, which succeeds for exactly one as well.
 *
 * Why nothing is lost or doubled:
 * 1. *Only one draft can follow p.* Whoever links the slot while *p* is the base owns it: a slot is removed only by
 *    somebody who saw that *p* is no longer the base, and a nonce that is gone never comes back.
 * 2. *A draft is published at most once*, whoever tries: `rename` consumes its name, and the second try finds nothing.
 * 3. *A late link is harmless.* Who links the slot of a *p* that is gone finds another base, finds its own draft still
 *    there (so nobody published it), and starts again on the newer base.
 * 4. *Nobody waits for the dead.* Who meets an occupied slot of the current base reads the draft's nonce from it, then the
 *    base once more. If that is still *p*, then *p* was the base since before the slot was linked, so by (1) its
 *    owner is the rightful one, and the helper does the rename for it. By (2) it does not matter who is first.
 * 5. *An owner that finds its draft gone was published* by a helper. Only the sweeper removes drafts, by age, and never
 *    one that can still be published; an owner older than half that age does not trust the sign (`outcome_unknown`).
 *
 * A removal is a version without a value (a tombstone) and takes part like any other; so a late writer of the removed
 * entry fails on its parent. Readers read the base alone, which is always a whole version.
 */
import { link, rename, unlink } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { errnoOf } from './faults.ts'
import type { KindFolder } from './kind-folder.ts'
import { BadRecord, type EntryRecord, encodeRecord, newNonce } from './record.ts'
import { readRecord, writeDurably } from './record-file.ts'

/** Drafts and slots older than this belong to nobody: 1 hour, in milliseconds. */
export const DRAFT_MAX_AGE_MS = 3_600_000

/**
 * The current version, after helping one that was left half-published. Undefined when there never was one. Who cannot help
 * (a damaged slot, a read-only file system, a reader without the right to write) still reads: what has not been published
 * has not happened, and whoever wants to write meets the obstacle itself.
 */
export function readBase(folder: KindFolder, stem: string): Promise<EntryRecord | undefined> {
  return settle(folder, stem, (error) => error instanceof BadRecord || errnoOf(error) !== undefined)
}

/** The same for the sweeper, which must know that nothing can be published any more: a file system's error is thrown. */
export function settledBase(folder: KindFolder, stem: string): Promise<EntryRecord | undefined> {
  return settle(folder, stem, (error) => error instanceof BadRecord)
}

async function settle(
  folder: KindFolder,
  stem: string,
  isExcused: (error: unknown) => boolean,
): Promise<EntryRecord | undefined> {
  for (;;) {
    const base = readRecord(folder.base(stem), folder.kind, stem)
    if (!base) return undefined
    try {
      if (!(await helpSuccessor(folder, stem, base))) return base
    } catch (error) {
      if (isExcused(error)) return base
      throw error
    }
  }
}

/**
 * Makes `next` the version after `parent` (undefined: the first). False when somebody else was faster; then nothing of
 * `next` remains. True when it is published and on the disk.
 */
export async function advance(
  folder: KindFolder,
  stem: string,
  parent: EntryRecord | undefined,
  next: EntryRecord,
): Promise<boolean> {
  const startedAt = Date.now()
  const draft = folder.draft(stem, next.nonce)
  const bytes = encodeRecord(next)
  await folder.ensure()
  let taken = false
  try {
    await writeDurably(draft, bytes)
    taken = await linkFirst(draft, parent ? folder.slot(stem, parent.nonce) : folder.base(stem))
  } finally {
    if (!taken) await unlinkQuietly(draft)
  }
  if (!taken) {
    if (parent) await helpSuccessor(folder, stem, parent)
    return false
  }
  try {
    return await finish(folder, stem, parent, next, startedAt)
  } catch (cause) {
    throw new CoppiceError('unavailable', 'outcome_unknown', 'The change may or may not have happened.', {
      cause,
      facts: { file: folder.base(stem) },
    })
  }
}

/** After the place was taken: publishes, syncs, tidies up. */
async function finish(
  folder: KindFolder,
  stem: string,
  parent: EntryRecord | undefined,
  next: EntryRecord,
  startedAt: number,
): Promise<boolean> {
  const draft = folder.draft(stem, next.nonce)
  if (!parent) {
    await unlinkQuietly(draft)
  } else {
    const outcome = await publish(folder, stem, parent.nonce, next.nonce)
    if (outcome === 'void') {
      await unlinkQuietly(draft)
      return false
    }
    if (outcome === 'gone' && Date.now() - startedAt > DRAFT_MAX_AGE_MS / 2) {
      throw new Error('the writer was held up for so long that its draft may have been swept')
    }
  }
  await folder.sync()
  return true
}

/** Publishes what stands in the slot of `base`. False when there is nothing to help: an empty slot, or a purge under way. */
async function helpSuccessor(folder: KindFolder, stem: string, base: EntryRecord): Promise<boolean> {
  const successor = readRecord(folder.slot(stem, base.nonce), folder.kind, stem)
  if (!successor || successor.purge === true) return false
  await publish(folder, stem, base.nonce, successor.nonce)
  return true
}

/**
 * The steps after the slot is taken, for its owner and for helpers alike. `renamed`: done here. `gone`: the draft has been
 * published by somebody else. `void`: the parent was gone before the slot was taken.
 */
async function publish(
  folder: KindFolder,
  stem: string,
  parentNonce: string,
  draftNonce: string,
): Promise<'renamed' | 'gone' | 'void'> {
  const draft = folder.draft(stem, draftNonce)
  const base = readRecord(folder.base(stem), folder.kind, stem)
  let outcome: 'renamed' | 'gone' | 'void'
  if (base?.nonce === parentNonce) outcome = (await renameIfThere(draft, folder.base(stem))) ? 'renamed' : 'gone'
  else outcome = readRecord(draft, folder.kind, stem) ? 'void' : 'gone'
  await unlinkQuietly(folder.slot(stem, parentNonce))
  return outcome
}

/**
 * Forgets a tombstone for good. Only the one sweeper of a home calls this. It takes the tombstone's slot like any successor,
 * with a record that nobody publishes for it: while it holds the slot the base cannot change, so removing the base by name
 * removes the tombstone and nothing else. A purge that was cut off holds its slot until the next sweep takes it over.
 * False when somebody builds on the tombstone.
 */
export async function purge(folder: KindFolder, stem: string, tombstone: EntryRecord): Promise<boolean> {
  const slot = folder.slot(stem, tombstone.nonce)
  const marker: EntryRecord = { ...tombstone, nonce: newNonce(), version: tombstone.version + 1, purge: true }
  const draft = folder.draft(stem, marker.nonce)
  await writeDurably(draft, encodeRecord(marker))
  try {
    if (!(await linkFirst(draft, slot))) {
      const holder = readRecord(slot, folder.kind, stem)
      if (holder?.purge !== true) return false
    }
    const base = readRecord(folder.base(stem), folder.kind, stem)
    const isStillThere = base?.nonce === tombstone.nonce
    if (isStillThere) await unlink(folder.base(stem))
    await unlinkQuietly(slot)
    return isStillThere
  } finally {
    await unlinkQuietly(draft)
  }
}

/** False when the place is taken, or when the draft was swept because its writer slept for too long: try again. */
async function linkFirst(from: string, to: string): Promise<boolean> {
  try {
    await link(from, to)
    return true
  } catch (error) {
    if (errnoOf(error) === 'EEXIST' || errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

/** False when there is nothing to rename. */
async function renameIfThere(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw error
  }
}

/** What stays behind because of an error here is swept by age. */
async function unlinkQuietly(path: string): Promise<void> {
  await unlink(path).catch(() => undefined)
}
