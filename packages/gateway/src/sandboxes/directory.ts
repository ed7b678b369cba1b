import { CoppiceError } from '@coppice/protocol'
import type { Store } from '@coppice/registry'
import type { SandboxRecord } from './record.ts'

/** A file of the registry that could not be read as an entry. */
export interface Skipped {
  file: string
  reason: string
}

/**
 * The sandboxes of this gateway: the registry's entries, with what is looked up often (ids, names, keys) held in memory.
 * Every change is on disk before it is here; this process is the only writer.
 */
export class Directory {
  readonly #store: Store<SandboxRecord>
  readonly #records = new Map<string, SandboxRecord>()
  /** Ids of those that exist, by name, and of those that a key has made and that have run. */
  readonly #named = new Map<string, string>()
  readonly #keyed = new Map<string, string>()
  readonly #reservedNames = new Set<string>()
  #reserved = 0
  #existingCount = 0
  #skipped: Skipped[] = []

  private constructor(store: Store<SandboxRecord>) {
    this.#store = store
  }

  static async open(store: Store<SandboxRecord>): Promise<Directory> {
    const directory = new Directory(store)
    const { entries, skipped } = await store.list()
    for (const { value } of entries.toSorted((a, b) => a.value.createdAt - b.value.createdAt)) directory.#keep(value)
    directory.#skipped = skipped
    return directory
  }

  /** Entries on disk that could not be read, and why. They are left as they are. */
  get skipped(): Skipped[] {
    return this.#skipped
  }

  /** All records, removed ones too, oldest first. */
  all(): SandboxRecord[] {
    return [...this.#records.values()].sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
  }

  /** Those that exist. */
  existing(): SandboxRecord[] {
    return this.all().filter((record) => record.state !== 'removed')
  }

  peek(id: string): SandboxRecord | undefined {
    return this.#records.get(id)
  }

  /** By id or name, also a removed one by its id. @throws `not_found/sandbox_not_found` */
  findAny(idOrName: string): SandboxRecord {
    const record = this.#records.get(idOrName) ?? this.#records.get(this.#named.get(idOrName) ?? '')
    if (record) return record
    throw new CoppiceError(
      'not_found',
      'sandbox_not_found',
      `There is no sandbox ${JSON.stringify(idOrName.slice(0, 100))}.`,
      {
        hint: 'coppice ls',
      },
    )
  }

  /** By id or name, one that exists. @throws `not_found/sandbox_removed` with its end, `not_found/sandbox_not_found` */
  find(idOrName: string): SandboxRecord {
    const record = this.findAny(idOrName)
    if (record.state !== 'removed') return record
    throw new CoppiceError(
      'not_found',
      'sandbox_removed',
      `Sandbox ${record.id} was removed. ${record.end?.message ?? ''}`.trim(),
      {
        facts: { sandboxId: record.id, end: record.end },
        hint: `coppice inspect ${record.id}`,
      },
    )
  }

  /**
   * The sandbox that a create call with this key made. One that never came to run does not count: creates of one key come one
   * after the other, so it is what a failed one left.
   */
  byKey(key: string): SandboxRecord | undefined {
    return this.#records.get(this.#keyed.get(key) ?? '')
  }

  /**
   * Takes a name and a place among `max` for a record that is about to be put.
   * @returns what gives both back once the record is there, or was not put
   */
  reserve(record: SandboxRecord, max: number): () => void {
    const { name } = record
    if (this.#existingCount + this.#reserved >= max) {
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

  async update(id: string, change: (current: SandboxRecord) => SandboxRecord): Promise<SandboxRecord> {
    const { value } = await this.#store.update(id, change)
    this.#keep(value)
    return value
  }

  /**
   * Forgets records of sandboxes that were removed before `before`, Unix time in milliseconds.
   * @param forgotten told the id of each
   */
  async forget(before: number, forgotten: (id: string) => void): Promise<void> {
    for (const record of this.all()) {
      if (record.state !== 'removed' || (record.removedAt ?? 0) >= before) continue
      await this.#store.remove(record.id)
      this.#records.delete(record.id)
      if (record.key !== null && this.#keyed.get(record.key) === record.id) this.#keyed.delete(record.key)
      forgotten(record.id)
    }
  }

  #keep(record: SandboxRecord): void {
    const { id, name, key } = record
    const before = this.#records.get(id)
    this.#existingCount +=
      Number(record.state !== 'removed') - Number(before !== undefined && before.state !== 'removed')
    this.#records.set(id, record)
    if (key !== null && record.startedAt !== null && !this.#keyed.has(key)) this.#keyed.set(key, id)
    if (name === null) return
    if (record.state !== 'removed') this.#named.set(name, id)
    else if (this.#named.get(name) === id) this.#named.delete(name)
  }
}
