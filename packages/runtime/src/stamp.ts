import { createHash, randomUUID } from 'node:crypto'
import { readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { StagedFile } from './tree.ts'

/**
 * What a stamp remembers: the bundle that was staged from a set of files as they were then. A stamp whose files are all
 * unchanged by size and modification time spares hashing 130 MB.
 */
interface Stamp {
  schema: 1
  digest: string
  /** Path → `size:mtime:inode`. */
  inputs: Record<string, string>
}

/** Name of a stamp: one for each way to ask. */
export function stampName(request: unknown): string {
  return `.stamp-${createHash('sha256').update(JSON.stringify(request)).digest('hex').slice(0, 16)}.json`
}

/** The digest of the bundle that these inputs made, when none has changed since and the bundle is whole. */
export async function readStamp(cacheDir: string, name: string): Promise<string | undefined> {
  try {
    const stamp = JSON.parse(await readFile(join(cacheDir, name), 'utf8')) as Stamp
    if (stamp.schema !== 1 || !/^[0-9a-f]{64}$/.test(stamp.digest)) return undefined
    const unchanged = Object.entries(stamp.inputs).map(async ([path, mark]) => (await fileMark(path)) === mark)
    if ((await Promise.all(unchanged)).includes(false)) return undefined
    return (await isWhole(join(cacheDir, stamp.digest))) ? stamp.digest : undefined
  } catch {
    // Absent, unreadable or half-written by an older version: staging again is always right.
    return undefined
  }
}

/** Marks of files before they are read. A file that changes while it is copied then invalidates the stamp. */
export async function takeMarks(paths: string[]): Promise<Record<string, string>> {
  const unique = [...new Set(paths)].sort()
  return Object.fromEntries(await Promise.all(unique.map(async (path) => [path, await fileMark(path)])))
}

/** True when any of the files was modified at `timeMs` (Unix time) or later. */
export async function changedSince(paths: string[], timeMs: number): Promise<boolean> {
  const times = await Promise.all(paths.map(async (path) => (await stat(path)).mtimeMs))
  return times.some((time) => time >= timeMs)
}

/** Atomic, so that a reader sees the old stamp or the new one. */
export async function writeStamp(
  cacheDir: string,
  name: string,
  digest: string,
  inputs: Record<string, string>,
): Promise<void> {
  const stamp: Stamp = { schema: 1, digest, inputs }
  const temporary = join(cacheDir, `${name}.${randomUUID()}`)
  await writeFile(temporary, JSON.stringify(stamp))
  await rename(temporary, join(cacheDir, name))
}

/** True when every file of the bundle's manifest is there with its size: a cheap answer to a folder that somebody cleaned up. */
export async function isWhole(dir: string): Promise<boolean> {
  try {
    const files = JSON.parse(await readFile(join(dir, 'manifest.json'), 'utf8')) as StagedFile[]
    const sizes = await Promise.all(files.map(async (file) => (await stat(join(dir, file.target))).size === file.size))
    return sizes.length > 0 && !sizes.includes(false)
  } catch {
    return false
  }
}

async function fileMark(path: string): Promise<string> {
  const { size, mtimeMs, ino } = await stat(path)
  return `${size}:${mtimeMs}:${ino}`
}
