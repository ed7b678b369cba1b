import { CoppiceError } from '@coppice/protocol'
import { mayBeEntries, type Skipped, type Store, type UpdateOptions } from '@coppice/registry'
import { type Ended, endedOf, withoutOutput } from './ends.ts'
import type { SandboxRecord } from './record.ts'

/**
 * The sandboxes of this gateway: the registry's entries, with what is looked up often (ids, names, keys) held in memory.
 * Every change is on disk before it is here; this process is the only writer. Of removed ones, which may be tens of thousands,
 * only that they were and how they ended is here, 0.4 KiB each; the rest is read from the disk when it is asked for.
 */
export class Directory {
  readonly #store: Store<SandboxRecord>
  readonly #existing = new Map<string, SandboxRecord>()
  /** Those that were removed first come first. */
  readonly #removed = new Map<string, Ended>()
  /** Ids of those that exist, by name, and of those that a key has made and that have run. */
  readonly #named = new Map<string, string>()
  readonly #keyed = new Map<string, string>()
  readonly #reservedNames = new Set<string>()
  #reserved = 0
  #skipped: Skipped[] = []
  /** Ends that are remembered, and who is told of those that are not any more. */
  #ends: { most: number; forgotten: (id: string) => void } = { most: Number.POSITIVE_INFINITY, forgotten: () => {} }
  #trimming: Promise<void> | undefined

  private constructor(store: Store<SandboxRecord>) {
    this.#store = store
  }

  static async open(store: Store<SandboxRecord>): Promise<Directory> {
    const directory = new Directory(store)
    const keyed: KeyUse[] = []
    const ended: Ended[] = []
    const { entries, skipped } = await store.list((record) => {
      if (record.key !== null && record.startedAt !== null) {
        keyed.push({ key: record.key, id: record.id, createdAt: record.createdAt })
      }
      if (record.state !== 'removed') return record
      ended.push(endedOf(record))
      return REMOVED
    })
    // The first one that a key has made is the one that it finds.
    for (const { key, id } of keyed.sort(byAge)) if (!directory.#keyed.has(key)) directory.#keyed.set(key, id)
    for (const end of ended.sort((a, b) => a.removedAt - b.removedAt)) directory.#removed.set(end.id, end)
    for (const { value } of entries) if (value !== REMOVED) directory.#keep(value)
    directory.#skipped = skipped
    return directory
  }

  /** Entries on disk that could not be read, and why. They are left as they are. */
  get skipped(): Skipped[] {
    return this.#skipped
  }

  /** Whether one that cannot be read may need an image: any, since nobody knows which. */
  get mayHold(): boolean {
    return mayBeEntries(this.#skipped)
  }

  /** All records, oldest first; removed ones too, read from the disk, without their last output. @throws what the store throws */
  async all(): Promise<SandboxRecord[]> {
    const { entries } = await this.#store.list(inMemory)
    const removed = entries.flatMap(({ value }) => (this.#removed.has(value.id) ? [value] : []))
    return [...removed, ...this.#existing.values()].sort(byAge)
  }

  /** Ends that are remembered. */
  get endCount(): number {
    return this.#removed.size
  }

  /** Those that exist, oldest first. */
  existing(): SandboxRecord[] {
    return [...this.#existing.values()].sort(byAge)
  }

  /** One that exists. */
  peek(id: string): SandboxRecord | undefined {
    return this.#existing.get(id)
  }

  /** The id of one by its id or name, of a removed one by its id. @throws `not_found/sandbox_not_found` */
  idOf(idOrName: string): string {
    if (this.#existing.has(idOrName) || this.#removed.has(idOrName)) return idOrName
    const named = this.#named.get(idOrName)
    if (named !== undefined) return named
    throw notFound(idOrName)
  }

  /** By id or name, a removed one, by its id, too: that is read from the disk. @throws what `idOf` and the store throw */
  async findWhole(idOrName: string): Promise<SandboxRecord> {
    const id = this.idOf(idOrName)
    const record = this.#existing.get(id) ?? (await this.#store.get(id))?.value
    if (record) return record
    // Forgotten just now.
    throw notFound(idOrName)
  }

  /** By id or name, one that exists. @throws `not_found/sandbox_removed` with its end, `not_found/sandbox_not_found` */
  find(idOrName: string): SandboxRecord {
    const id = this.idOf(idOrName)
    const record = this.#existing.get(id)
    if (record) return record
    const end = this.#removed.get(id)?.end
    throw new CoppiceError('not_found', 'sandbox_removed', `Sandbox ${id} was removed. ${end?.message ?? ''}`.trim(), {
      facts: { sandboxId: id, end },
      hint: `coppice inspect ${id}`,
    })
  }

  /**
   * The sandbox that a create call with this key made. One that never came to run does not count: creates of one key come one
   * after the other, so it is what a failed one left. @throws what the store throws
   */
  async byKey(key: string): Promise<SandboxRecord | undefined> {
    const id = this.#keyed.get(key)
    if (id === undefined) return undefined
    const record = this.#existing.get(id) ?? (await this.#store.get(id))?.value
    // It is being forgotten: what is made now is found from now on.
    if (!record && this.#keyed.get(key) === id) this.#keyed.delete(key)
    return record
  }

  /**
   * Takes a name and a place among `max` for a record that is about to be put.
   * @returns what gives both back once the record is there, or was not put
   */
  reserve(record: SandboxRecord, max: number): () => void {
    const { name } = record
    if (this.#existing.size + this.#reserved >= max) {
      throw new CoppiceError('resource_exhausted', 'too_many_sandboxes', `There are ${max} sandboxes already.`, {
        facts: { max },
        hint: 'coppice rm --label KEY=VALUE, or raise maxSandboxes in config.json',
      })
    }
    if (name !== null && (this.#reservedNames.has(name) || this.#named.has(name))) {
      throw new CoppiceError('already_exists', 'name_taken', `There is a sandbox named ${name} already.`, {
        facts: { name },
        hint: `coppice inspect ${name}`,
      })
    }
    this.#reserved += 1
    if (name !== null) this.#reservedNames.add(name)
    return () => {
      this.#reserved -= 1
      if (name !== null) this.#reservedNames.delete(name)
    }
  }

  async put(record: SandboxRecord): Promise<void> {
    await this.#store.put(record.id, record, { expect: 'absent' })
    this.#keep(record)
  }

  async update(
    id: string,
    change: (current: SandboxRecord) => SandboxRecord,
    options: UpdateOptions = {},
  ): Promise<SandboxRecord> {
    const { value } = await this.#store.update(id, change, options)
    this.#keep(value)
    return value
  }

  /** The same for what ends something or has ended, which is written down on a full disk too. */
  settle(id: string, change: (current: SandboxRecord) => SandboxRecord): Promise<SandboxRecord> {
    return this.update(id, change, { reserve: true })
  }

  /**
   * Forgets records of sandboxes that were removed before `before`, Unix time in milliseconds, and from now on remembers at most
   * `most` ends, the latest ones. It may be a twentieth more while older ones are being forgotten, and those stay that the store
   * does not let go.
   * @param forgotten told the id of each that is forgotten
   * @throws the first of what keeps records of that age from being forgotten, when all others are
   */
  async forgetEnds({ before, most }: { before: number; most: number }, forgotten: (id: string) => void): Promise<void> {
    const failures: unknown[] = []
    for (const ended of [...this.#removed.values()]) {
      if (ended.removedAt < before) await this.#drop(ended, forgotten).catch((error: unknown) => failures.push(error))
    }
    this.#ends = { most, forgotten }
    await this.#trim()
    if (failures.length > 0) throw failures[0]
  }

  #trim(): Promise<void> {
    this.#trimming ??= this.#dropOldest().finally(() => {
      this.#trimming = undefined
    })
    return this.#trimming
  }

  async #dropOldest(): Promise<void> {
    const { most, forgotten } = this.#ends
    const excess = this.#removed.size - most
    if (excess <= 0) return
    // What cannot be dropped now may be later.
    for (const ended of [...this.#removed.values()].slice(0, excess)) await this.#drop(ended, forgotten).catch(() => {})
  }

  async #drop({ id, key }: Ended, forgotten: (id: string) => void): Promise<void> {
    await this.#store.remove(id)
    // The other one who drops has been here before.
    if (!this.#removed.delete(id)) return
    if (key !== null && this.#keyed.get(key) === id) this.#keyed.delete(key)
    forgotten(id)
  }

  #keep(record: SandboxRecord): void {
    const { id, name, key } = record
    if (record.state === 'removed') {
      this.#existing.delete(id)
      this.#removed.set(id, endedOf(record))
      if (this.#removed.size > this.#ends.most * 1.05) void this.#trim()
    } else {
      this.#existing.set(id, record)
    }
    if (key !== null && record.startedAt !== null && !this.#keyed.has(key)) this.#keyed.set(key, id)
    if (name === null) return
    if (record.state !== 'removed') this.#named.set(name, id)
    else if (this.#named.get(name) === id) this.#named.delete(name)
  }
}

function inMemory(record: SandboxRecord): SandboxRecord {
  return record.state === 'removed' && record.end ? { ...record, end: withoutOutput(record.end) } : record
}

/** Stands for a removed one in a list of which only those that exist are wanted. */
const REMOVED = { state: 'removed' } as SandboxRecord

interface KeyUse {
  key: string
  id: string
  createdAt: number
}

function notFound(idOrName: string): CoppiceError {
  const name = JSON.stringify(idOrName.slice(0, 100))
  return new CoppiceError('not_found', 'sandbox_not_found', `There is no sandbox ${name}.`, { hint: 'coppice ls' })
}

function byAge(a: { id: string; createdAt: number }, b: { id: string; createdAt: number }): number {
  return a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1)
}
