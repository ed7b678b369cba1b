import { lstat, readdir, rename, rmdir, unlink } from 'node:fs/promises'
import type { FileList } from '@coppice/protocol/wire'
import { CoppiceError } from '@coppice/protocol/wire'
import { joinPath } from './path.ts'
import { describe } from './stat.ts'

/** Entries of a list when the request says nothing, and the most that it may ask for. */
const DEFAULT_LIMIT = 10_000
const MAX_LIMIT = 100_000

/** Entries looked at together. */
const BATCH = 64

/** The entries of a folder, sorted by the bytes of their names, symlinks not followed. */
export async function listFolder(path: Buffer, limit = DEFAULT_LIMIT): Promise<FileList> {
  const names = await readdir(path, { encoding: 'buffer' })
  names.sort(Buffer.compare)
  const wanted = names.slice(0, Math.min(limit, MAX_LIMIT))
  const entries: FileList['entries'] = []
  for (let at = 0; at < wanted.length; at += BATCH) {
    const batch = wanted.slice(at, at + BATCH).map((name) => describe(joinPath(path, name), false).catch(ifGone))
    for (const entry of await Promise.all(batch)) if (entry) entries.push(entry)
  }
  return { entries, truncated: wanted.length < names.length }
}

/** Renames. Never follows a symlink at either end. */
export async function movePath(from: Buffer, to: Buffer, overwrite: boolean): Promise<void> {
  if (!overwrite && (await exists(to))) {
    const name = to.toString('utf8')
    throw new CoppiceError('already_exists', 'file_exists', `${JSON.stringify(name)} exists already.`, {
      facts: { path: name },
    })
  }
  await rename(from, to)
}

/** Removes a file, a symlink (not what it points to), or a folder: an empty one, or with `recursive` all that is in it. */
export async function removePath(path: Buffer, recursive: boolean, force: boolean): Promise<void> {
  try {
    await removeEntry(path, recursive)
  } catch (error) {
    if (force && (error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
}

async function removeEntry(path: Buffer, recursive: boolean): Promise<void> {
  const stats = await lstat(path)
  if (!stats.isDirectory()) return unlink(path)
  if (recursive) {
    // Somebody may still be adding: look again until it is empty.
    for (
      let names = await readdir(path, { encoding: 'buffer' });
      names.length > 0;
      names = await readdir(path, { encoding: 'buffer' })
    ) {
      for (const name of names) await removePath(joinPath(path, name), true, true)
    }
  }
  await rmdir(path)
}

async function exists(path: Buffer): Promise<boolean> {
  return (await lstat(path).catch(ifGone)) !== undefined
}

function ifGone(error: unknown): undefined {
  if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
  throw error
}
