import { readFile, rmdir, unlink } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { syncFolder } from '@coppice/limits'
import type { Home } from '@coppice/protocol/home'
import { CoppiceError } from '@coppice/protocol/wire'
import { FileRegistry, type Store } from '@coppice/registry'
import type { Effects } from '../effects.ts'
import { faultOf, isAbsent } from '../faults.ts'
import { inTurns } from '../in-turns.ts'
import { Quarantine } from '../quarantine.ts'
import type { LegacyContents, LegacyMonolith, LegacyShard } from './contents.ts'
import type { ForeignEntry } from './entry.ts'
import type { UserOf } from './locks.ts'
import type { LegacyKind } from './names.ts'

/** Entries that are moved at the same time. Each waits for the disk several times. */
const AT_ONCE = 8

const SUPERSEDED = 'The registry has another entry of this name already, and that one counts.'

export interface MigrationOptions {
  home: Home
  kind: LegacyKind
  contents: LegacyContents
  effects: Effects
  /** What another program is using: its rows are copied, and nothing is taken away from that program. */
  userOf: UserOf
}

/**
 * Moves one kind of the legacy registry, entry by entry. The order makes it safe to be killed anywhere and run again: an entry is
 * durable in the registry, or its bytes are in quarantine, before its source goes; and whatever was done already is recognised.
 * Sharded files come first: they are the newer form. Failures are in the effects, and their sources stay.
 */
export async function migrateKind(options: MigrationOptions): Promise<void> {
  const { contents } = options
  const migration = new Migration(options)
  await inTurns(contents.shards, AT_ONCE, (shard) => migration.shard(shard))
  if (contents.monolith) await migration.monolith(contents.monolith)
  if (contents.folder !== undefined) await migration.emptyFolder(contents.folder)
}

class Migration {
  readonly #options: MigrationOptions
  readonly #quarantine: Quarantine
  #store: Promise<Store<ForeignEntry>> | undefined

  constructor(options: MigrationOptions) {
    this.#options = options
    this.#quarantine = new Quarantine(options.home.quarantine)
  }

  async shard(shard: LegacyShard): Promise<void> {
    const { effects, kind, userOf } = this.#options
    const { path } = shard
    const inUse = userOf(path) !== undefined
    if (shard.problem !== undefined) {
      if (!inUse) await this.#putAside(path, shard.problem)
      return
    }
    const { entry } = shard
    let superseded = false
    const sentence = `Move the entry "${entry.containerName}" of ${path} to the registry (kind ${kind})`
    const safe = await effects.run(sentence, path, async () => {
      superseded = (await this.#register(entry)) === 'superseded'
      if (!superseded && !inUse) await removeUnchanged(path, shard.bytes)
    })
    if (safe && superseded && !inUse) await this.#putAside(path, SUPERSEDED)
  }

  async monolith({ path, bytes, rows, keepWhole }: LegacyMonolith): Promise<void> {
    const { effects, kind, userOf } = this.#options
    const inUse = userOf(path) !== undefined
    const done: boolean[] = []
    // One after the other where names repeat: the first of them counts, at every try.
    const seen = new Map<string, Promise<boolean>>()
    await inTurns(rows, AT_ONCE, async (row) => {
      if (row.problem !== undefined) {
        done.push(inUse || (await this.#keepRow(path, row.index, row.bytes, row.problem)))
        return
      }
      const { entry } = row
      const before = seen.get(entry.containerName)
      const { promise, resolve } = Promise.withResolvers<boolean>()
      seen.set(entry.containerName, promise)
      await before
      let superseded = false
      const sentence = `Copy the entry "${entry.containerName}" of ${path} to the registry (kind ${kind})`
      let safe = await effects.run(sentence, path, async () => {
        superseded = (await this.#register(entry)) === 'superseded'
      })
      if (safe && superseded && !inUse) safe = await this.#keepRow(path, row.index, row.bytes, SUPERSEDED)
      done.push(safe)
      resolve(safe)
    })
    if (inUse || done.includes(false)) return
    if (keepWhole !== undefined) await this.#putAside(path, keepWhole)
    else
      await effects.run(`Remove ${path}, all of whose entries are in safety`, path, () => removeUnchanged(path, bytes))
  }

  /** An empty folder is part of the legacy registry too. One that still holds something stays, and its contents are told. */
  async emptyFolder(folder: string): Promise<void> {
    const { effects, userOf } = this.#options
    if (userOf(folder)) return
    await effects.run(`Remove the folder ${folder} if it is empty`, folder, async () => {
      try {
        await rmdir(folder)
        await syncFolder(dirname(folder))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY' && !isAbsent(error)) throw error
      }
    })
  }

  /** The entry is durable when this returns. What was there before counts, and is left alone. */
  async #register(entry: ForeignEntry): Promise<'registered' | 'superseded'> {
    const store = await this.#open()
    try {
      await store.put(entry.containerName, entry, { expect: 'absent' })
      return 'registered'
    } catch (error) {
      if (!(error instanceof CoppiceError) || error.code !== 'already_exists') throw error
    }
    const present = await store.get(entry.containerName)
    return isDeepStrictEqual(present?.value, JSON.parse(JSON.stringify(entry))) ? 'registered' : 'superseded'
  }

  #open(): Promise<Store<ForeignEntry>> {
    this.#store ??= FileRegistry.open(this.#options.home.registry).then((registry) =>
      registry.kind<ForeignEntry>(this.#options.kind),
    )
    return this.#store
  }

  #putAside(path: string, reason: string): Promise<boolean> {
    const { effects, kind } = this.#options
    return effects.run(`Put ${path} into quarantine: ${reason}`, path, async () => {
      await this.#quarantine.move(kind, path, reason)
    })
  }

  #keepRow(path: string, row: number, bytes: Buffer, reason: string): Promise<boolean> {
    const { effects, kind } = this.#options
    return effects.run(`Put row ${row} of ${path} into quarantine: ${reason}`, path, async () => {
      await this.#quarantine.keep(kind, `${basename(path)}.row-${row}`, bytes, { source: path, row, reason })
    })
  }
}

/** Removes a file that still holds what was read from it. */
async function removeUnchanged(path: string, bytes: Buffer | undefined): Promise<void> {
  let now: Buffer
  try {
    now = await readFile(path)
  } catch (error) {
    if (isAbsent(error)) return
    throw error
  }
  if (bytes === undefined || !now.equals(bytes)) {
    throw new CoppiceError('conflict', 'source_changed', `${path} was changed while it was being migrated.`, {
      hint: `fuser -v ${path}`,
    })
  }
  try {
    await unlink(path)
    await syncFolder(dirname(path))
  } catch (error) {
    throw faultOf(error, path)
  }
}
