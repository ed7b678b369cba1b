import { lstat, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import type { CoppiceError } from '@coppice/protocol/wire'
import { faultOf, isAbsent } from '../faults.ts'
import { type ReadRow, readRow, readShard } from './entry.ts'
import { isLockName, type LegacyKind, monolithPath, shardFolder } from './names.ts'
import { findRows } from './rows.ts'
import { readUntrusted } from './untrusted-file.ts'

/** A monolithic file has some hundred rows of some hundred bytes. */
const MAX_MONOLITH_BYTES = 64 * 1024 * 1024
/** What the registry takes as one entry. */
const MAX_SHARD_BYTES = 8 * 1024 * 1024

/** A file of the sharded folder: a row, or why it is none. */
export type LegacyShard = ReadRow & { path: string; bytes: Buffer | undefined }

/** One row of a monolithic file, and its own bytes. */
export type LegacyRow = ReadRow & { index: number; bytes: Buffer }

/** `containers.json`, `browsers.json`. */
export interface LegacyMonolith {
  path: string
  bytes: Buffer | undefined
  rows: LegacyRow[]
  /** Why the file itself goes into quarantine once its rows are safe. */
  keepWhole: string | undefined
}

/** What there is of one kind of the legacy registry. */
export interface LegacyContents {
  shards: LegacyShard[]
  monolith: LegacyMonolith | undefined
  /** The sharded folder, when there is one. */
  folder: string | undefined
  /** True when not even a lock is in it. */
  folderEmpty: boolean
  /** Things that cannot be read at all, which is not the same as bad. */
  unreadable: { path: string; error: CoppiceError }[]
}

/** Reads all there is of a kind, and changes nothing. */
export async function readLegacy(home: string, kind: LegacyKind): Promise<LegacyContents> {
  const contents: LegacyContents = {
    shards: [],
    monolith: undefined,
    folder: undefined,
    folderEmpty: false,
    unreadable: [],
  }
  await readShards(shardFolder(home, kind), contents)
  await guarded(monolithPath(home, kind), contents, async (path) => {
    contents.monolith = await readMonolith(path)
  })
  return contents
}

async function readShards(folder: string, contents: LegacyContents): Promise<void> {
  await guarded(folder, contents, async () => {
    const stat = await lstat(folder).catch((error) => {
      if (isAbsent(error)) return undefined
      throw error
    })
    if (!stat) return
    if (!stat.isDirectory()) {
      contents.shards.push({ path: folder, bytes: undefined, problem: 'It should be a folder.' })
      return
    }
    const all = await readdir(folder)
    const names = all.filter((name) => !isLockName(name)).sort()
    contents.folder = folder
    contents.folderEmpty = all.length === 0
    for (const [index, name] of names.entries()) {
      await guarded(join(folder, name), contents, async (path) => {
        const shard = await readShardFile(path, name)
        if (shard) contents.shards.push(shard)
      })
      if (index % 64 === 63) await setImmediate()
    }
  })
}

async function readShardFile(path: string, name: string): Promise<LegacyShard | undefined> {
  const file = await readUntrusted(path, MAX_SHARD_BYTES)
  if (!file) return undefined
  if (file.problem !== undefined) return { path, bytes: undefined, problem: file.problem }
  return { path, bytes: file.bytes, ...readShard(file.bytes, name) }
}

async function readMonolith(path: string): Promise<LegacyMonolith | undefined> {
  const file = await readUntrusted(path, MAX_MONOLITH_BYTES)
  if (!file) return undefined
  if (file.problem !== undefined) return { path, bytes: undefined, rows: [], keepWhole: file.problem }
  const { bytes } = file
  const slices = findRows(bytes, ({ start, end }) => readRow(bytes.subarray(start, end)).problem === undefined)
  if (!slices) return { path, bytes, rows: [], keepWhole: wholeProblem(bytes) ?? 'It has no list of entries.' }
  const rows = slices.map(({ start, end }, index) => {
    const part = bytes.subarray(start, end)
    return { index, bytes: part, ...readRow(part) }
  })
  return { path, bytes, rows, keepWhole: wholeProblem(bytes) ?? otherMembers(bytes) }
}

function wholeProblem(bytes: Buffer): string | undefined {
  try {
    JSON.parse(bytes.toString('utf8'))
    return undefined
  } catch {
    return bytes.length === 0 ? 'It is empty.' : 'It is not valid JSON as a whole.'
  }
}

/** Rows go to the registry; what else is in the file has no place there and is not thrown away. */
function otherMembers(bytes: Buffer): string | undefined {
  const names = Object.keys(JSON.parse(bytes.toString('utf8')) as object).filter((name) => name !== 'entries')
  return names.length === 0 ? undefined : `Besides its entries it holds: ${names.join(', ').slice(0, 200)}.`
}

async function guarded(path: string, contents: LegacyContents, read: (path: string) => Promise<void>): Promise<void> {
  try {
    await read(path)
  } catch (error) {
    contents.unreadable.push({ path, error: faultOf(error, path) })
  }
}
