import { CoppiceError } from '@coppice/protocol'
import type { Store } from '@coppice/registry'
import { withoutOutput } from './ends.ts'
import type { SandboxRecord } from './record.ts'

/** A file of the registry that could not be read as an entry. */
export interface Skipped {
  file: string
  reason: string
}

/**
 * The sandboxes of this gateway: the registry's entries, with what is looked up often (ids, names, keys) held in memory.
 * Every change is on disk before it is here; this process is the only writer. Of removed ones, which may be tens of thousands,
 * the last output (64 KiB) is on disk alone.
 */
export class Directory {
  readonly #store: Store<SandboxRecord>
  readonly #existing = new Map<string, SandboxRecord>()
  readonly #removed = new Map<string, SandboxRecord>()
  /** Ids of those that exist, by name, and of those that a key has made and that have run. */
  readonly #named = new Map<string, string>()
  readonly #keyed = new Map<string, string>()
  readonly #reservedNames = new Set<string>()
  #reserved = 0
  #skipped: Skipped[] = []

  private constructor(store: Store<SandboxRecord>) {
    this.#store = store
  }

  static async open(store: Store<SandboxRecord>): Promise<Directory> {
    const directory = new Directory(store)
    const { entries, skipped } = await store.list(inMemory)
    for (const { value } of entries.toSorted((a, b) => a.value.createdAt - b.value.createdAt)) directory.#keep(value)
    directory.#skipped = skipped
    return directory
  }

  /** Entries on disk that could not be read, and why. They are left as they are. */
  get skipped(): Skipped[] {
    return this.#skipped
  }

  /** All records, oldest first; removed ones too, without their last output. */
  all(): SandboxRecord[] {
    return [...this.#removed.values(), ...this.#existing.values()].sort(byAge)
  }

  /** Those that exist, oldest first. */
  existing(): SandboxRecord[] {
    return [...this.#existing.values()].sort(byAge)
  }

  /** A removed one is without its last output. */
  peek(id: string): SandboxRecord | undefined {
    return this.#existing.get(id) ?? this.#removed.get(id)
  }

  /** By id or name, also a removed one by its id, without its last output. @throws `not_found/sandbox_not_found` */
  findAny(idOrName: string): SandboxRecord {
    const record = this.peek(idOrName) ?? this.peek(this.#named.get(idOrName) ?? '')
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

  /** The same with the last output of a removed one, which is read from the disk. @throws what `findAny` and the store throw */
  async findWhole(idOrName: string): Promise<SandboxRecord> {
    const record = this.findAny(idOrName)
    return record.state === 'removed' ? ((await this.#store.get(record.id))?.value ?? record) : record
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
        facts: { sandboxId: record.id, end: record.end && { ...record.end, lastOutput: undefined } },
        hint: `coppice inspect ${record.id}`,
      },
    )
  }

  /**
   * The sandbox that a create call with this key made. One that never came to run does not count: creates of one key come one
   * after the other, so it is what a failed one left.
   */
  byKey(key: string): SandboxRecord | undefined {
    return this.peek(this.#keyed.get(key) ?? '')
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

  async update(id: string, change: (current: SandboxRecord) => SandboxRecord): Promise<SandboxRecord> {
    const { value } = await this.#store.update(id, change)
    this.#keep(value)
    return value
  }

  /**
   * Forgets records of sandboxes that were removed before `before`, Unix time in milliseconds.
   * @param forgotten told the id of each
   * @throws the first of what keeps records from being forgotten, when all others are
   */
  async forget(before: number, forgotten: (id: string) => void): Promise<void> {
    const failures: unknown[] = []
    for (const record of [...this.#removed.values()]) {
      if ((record.removedAt ?? 0) >= before) continue
      try {
        await this.#store.remove(record.id)
      } catch (error) {
        failures.push(error)
        continue
      }
      this.#removed.delete(record.id)
      if (record.key !== null && this.#keyed.get(record.key) === record.id) this.#keyed.delete(record.key)
      forgotten(record.id)
    }
    if (failures.length > 0) throw failures[0]
  }

  #keep(record: SandboxRecord): void {
    const { id, name, key } = record
    if (record.state === 'removed') {
      this.#existing.delete(id)
      this.#removed.set(id, inMemory(record))
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

function byAge(a: SandboxRecord, b: SandboxRecord): number {
  return a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1)
}
