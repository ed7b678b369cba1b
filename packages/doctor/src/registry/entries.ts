import { createHash } from 'node:crypto'
import { link, lstat, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { syncFolder } from '@coppice/limits'
import { type InspectedKind, inspectRegistry, type Skipped } from '@coppice/registry'
import { type Check, type Finding, finding, type RepairContext } from '../check.ts'
import { errnoOf, quoted } from '../faults.ts'
import { Quarantine } from '../quarantine.ts'

/** Registry files that are no entries: damaged, misnamed, of a newer version, or not ours. */
export const registryEntriesCheck: Check = {
  id: 'registry/entries',
  limitMs: 60_000,
  async detect({ home, note }) {
    const kinds = await inspectRegistry(home.registry)
    for (const { kind, entries } of kinds) note(`${entries.length} ${kind} are registered.`)
    return kinds.flatMap((kind) => [...unreadable(kind), ...kind.skipped.map((skipped) => describe(kind, skipped))])
  },
  async repair(ctx) {
    const quarantine = new Quarantine(ctx.home.quarantine)
    for (const kind of await inspectRegistry(ctx.home.registry)) {
      for (const skipped of kind.skipped) {
        if (MOVABLE.has(skipped.reason)) await repairOne(ctx, quarantine, kind, skipped)
      }
    }
    return ctx.effects.outcome
  },
}

/** What may leave the registry's folder. Newer versions stay for whoever wrote them, and what cannot be read stays too. */
const MOVABLE: ReadonlySet<string> = new Set([
  'corrupt',
  'too_large',
  'wrong_name',
  'not_a_file',
  'invalid_value',
  'foreign',
])

function unreadable({ kind, path, error }: InspectedKind): Finding[] {
  if (!error) return []
  const message = `The registry's ${kind} could not be read, so nothing is known about them: ${error.message}`
  return [finding('unverified', message, error.hint ?? `ls -ld ${quoted(path)}`, { path })]
}

function describe(kind: InspectedKind, { file, reason, detail }: Skipped): Finding {
  const path = join(kind.path, file)
  const look = `cat ${quoted(path)}`
  const list = `ls -ld ${quoted(path)}`
  switch (reason) {
    case 'future_schema':
      return finding('error', `${path} was written by a newer Coppice and is left alone. ${detail}`, 'git pull', {
        path,
      })
    case 'unreadable':
      return finding('unverified', `${path} could not be read: ${detail}`, list, { path })
    case 'foreign':
      return finding('warning', `${path} is not the registry's. ${detail}`, list, { path, fixable: true })
    case 'wrong_name':
      return finding('error', `${path} has a wrong name. ${detail}`, look, { path, fixable: true })
    default:
      return finding('error', `${path} is a damaged registry entry. ${detail}`, list, { path, fixable: true })
  }
}

async function repairOne(
  ctx: RepairContext,
  quarantine: Quarantine,
  kind: InspectedKind,
  { file, reason, detail }: Skipped,
): Promise<void> {
  const { effects } = ctx
  const path = join(kind.path, file)
  const rightful = reason === 'wrong_name' ? await rightfulPath(kind, path) : undefined
  if (rightful !== undefined) {
    await effects.run(`Give ${path} its right name, ${rightful}`, path, () => rename(path, rightful, kind.path))
    return
  }
  await effects.run(`Put ${path} into quarantine: ${detail}`, path, async () => {
    await quarantine.move(kind.kind, path, detail)
  })
}

/** The name that a record of this kind should have, when it is free. */
async function rightfulPath(kind: InspectedKind, path: string): Promise<string | undefined> {
  try {
    const record = JSON.parse(await readFile(path, 'utf8')) as { kind?: unknown; id?: unknown; value?: unknown }
    if (record.kind !== kind.kind || typeof record.id !== 'string' || record.value === undefined) return undefined
    const rightful = join(kind.path, `${createHash('sha256').update(record.id).digest('hex')}.json`)
    await lstat(rightful).then(
      () => Promise.reject(new Error('taken')),
      (error) => (errnoOf(error) === 'ENOENT' ? undefined : Promise.reject(error)),
    )
    return rightful
  } catch {
    return undefined
  }
}

/** A link never replaces: should somebody create that entry now, this one stays where it is. */
async function rename(from: string, to: string, folder: string): Promise<void> {
  await link(from, to)
  await syncFolder(folder)
  await unlink(from)
  await syncFolder(folder)
}
