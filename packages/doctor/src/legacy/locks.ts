import { readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { syncFolder } from '@coppice/limits'
import { isAbsent } from '../faults.ts'
import { isWithin } from '../host/mounts.ts'
import { type LockOwner, MAX_LOCK_BYTES, ownerOf, parseLock } from './lock-owner.ts'
import { isLockName, LEGACY_KINDS, type LegacyKind, shardFolder } from './names.ts'
import { readUntrusted } from './untrusted-file.ts'

/** A lock of the legacy registry, and who holds it. */
export interface LegacyLock {
  path: string
  kind: LegacyKind
  owner: LockOwner
}

/** Every lock beside the legacy files of a home, and in its sharded folders. */
export async function findLocks(home: string): Promise<LegacyLock[]> {
  const found: { kind: LegacyKind; folder: string; name: string }[] = []
  for (const kind of LEGACY_KINDS) {
    const beside = (await namesIn(home)).filter((name) => name.startsWith(`${kind}.`))
    const inside = await namesIn(shardFolder(home, kind))
    found.push(...beside.filter(isLockName).map((name) => ({ kind, folder: home, name })))
    found.push(...inside.filter(isLockName).map((name) => ({ kind, folder: shardFolder(home, kind), name })))
  }
  const locks = found.map(async ({ kind, folder, name }) => {
    const path = join(folder, name)
    return { path, kind, owner: await lockOwner(path) }
  })
  return (await Promise.all(locks)).sort((a, b) => (a.path < b.path ? -1 : 1))
}

/** Finds the lock by which a living process has a legacy file, if one has. */
export type UserOf = (path: string) => LegacyLock | undefined

/** `x.lock` locks `x` and `x.json`; that of a folder locks all that is in it. */
export function usersOf(locks: readonly LegacyLock[]): UserOf {
  const held = locks.filter(({ owner }) => owner.state === 'alive')
  return (path) =>
    held.find((lock) => {
      const locked = lock.path.slice(0, -'.lock'.length)
      return isWithin(path, locked) || path === `${locked}.json`
    })
}

/** Removes a lock if its owner is still gone. */
export async function removeLock(folder: string, path: string): Promise<void> {
  const owner = await lockOwner(path)
  if (owner.state !== 'gone') return
  await unlink(path)
  await syncFolder(folder)
}

async function lockOwner(path: string): Promise<LockOwner> {
  const file = await readUntrusted(path, MAX_LOCK_BYTES)
  if (!file) return { state: 'unknown', why: 'it went away just now' }
  if (file.problem !== undefined) return { state: 'unknown', why: file.problem }
  return ownerOf(parseLock(file.bytes.toString('utf8')))
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort()
  } catch (error) {
    if (isAbsent(error)) return []
    throw error
  }
}
