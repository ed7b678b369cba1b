import { readdir, stat } from 'node:fs/promises'
import { setImmediate } from 'node:timers/promises'
import type { CoppiceError } from '@coppice/protocol/wire'
import { DRAFT_MAX_AGE_MS } from './chain.ts'
import { errnoOf, registryFault } from './faults.ts'
import { KindFolder } from './kind-folder.ts'
import { BadRecord } from './record.ts'
import { readRecord } from './record-file.ts'
import type { Entry, EntryValue, Skipped } from './store.ts'

/** What one kind's folder holds, as it lies on the disk. */
export interface InspectedKind {
  kind: string
  /** Absolute. */
  path: string
  entries: Entry<EntryValue>[]
  skipped: Skipped[]
  /** Drafts and slots that writers left behind more than an hour ago: file names. */
  leftovers: string[]
  /** Why the folder could not be read. The lists are then empty, and say nothing. */
  error?: CoppiceError
}

const KIND_NAME = /^[a-z][a-z0-9-]{0,62}$/
const BASE_NAME = /^([0-9a-f]{64})\.json$/
const PASSING_NAME = /^[0-9a-f]{64}\.[0-9a-f]{32}\.(new|next)$/

/**
 * Looks at every kind of a registry without changing anything: no folder is made and nobody's unfinished version is published,
 * unlike with `FileRegistry`. An empty list when there is no registry. Throws `permission_denied`, `unavailable`.
 */
export async function inspectRegistry(dir: string, now = Date.now()): Promise<InspectedKind[]> {
  let names: string[]
  try {
    const entries = await readdir(dir, { withFileTypes: true })
    names = entries.filter((entry) => entry.isDirectory() && KIND_NAME.test(entry.name)).map((entry) => entry.name)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return []
    throw registryFault(error, dir)
  }
  const kinds: InspectedKind[] = []
  for (const name of names.sort()) kinds.push(await inspectKind(new KindFolder(dir, name), now))
  return kinds
}

async function inspectKind(folder: KindFolder, now: number): Promise<InspectedKind> {
  const found: InspectedKind = { kind: folder.kind, path: folder.path, entries: [], skipped: [], leftovers: [] }
  let names: string[]
  try {
    names = (await readdir(folder.path)).sort()
  } catch (error) {
    return { ...found, error: registryFault(error, folder.path) }
  }
  for (const [index, name] of names.entries()) {
    const stem = BASE_NAME.exec(name)?.[1]
    if (stem !== undefined) inspectBase(folder, stem, found)
    else if (!PASSING_NAME.test(name)) found.skipped.push(skip(name, 'foreign', 'Its name is none of the registry.'))
    else if (await isOld(`${folder.path}/${name}`, now)) found.leftovers.push(name)
    if (index % 64 === 63) await setImmediate()
  }
  return found
}

function inspectBase(folder: KindFolder, stem: string, found: InspectedKind): void {
  const file = `${stem}.json`
  try {
    const record = readRecord(folder.base(stem), folder.kind, stem)
    if (record?.value) found.entries.push({ id: record.id, version: record.version, value: record.value })
  } catch (error) {
    if (error instanceof BadRecord) found.skipped.push(skip(file, error.reason, error.message))
    else found.skipped.push(skip(file, 'unreadable', registryFault(error, folder.base(stem)).message))
  }
}

function skip(file: string, reason: Skipped['reason'], detail: string): Skipped {
  return { file, reason, detail }
}

async function isOld(path: string, now: number): Promise<boolean> {
  try {
    return now - (await stat(path)).mtimeMs > DRAFT_MAX_AGE_MS
  } catch {
    return false
  }
}
