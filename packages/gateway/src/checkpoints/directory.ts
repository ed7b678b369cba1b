import { CoppiceError } from '@coppice/protocol'
import { mayBeEntries, type Skipped, type Store } from '@coppice/registry'
import type { CheckpointRecord } from './record.ts'

/**
 * The checkpoints of this gateway: the registry's entries, held in memory. Every change is on disk before it is here; this process
 * is the only writer.
 */
export class CheckpointDirectory {
  readonly #store: Store<CheckpointRecord>
  readonly #records = new Map<string, CheckpointRecord>()
  readonly #reserved = new Set<string>()
  readonly skipped: Skipped[]

  private constructor(store: Store<CheckpointRecord>, skipped: Skipped[]) {
    this.#store = store
    this.skipped = skipped
  }

  static async open(store: Store<CheckpointRecord>): Promise<CheckpointDirectory> {
    const { entries, skipped } = await store.list()
    const directory = new CheckpointDirectory(store, skipped)
    for (const { id, value } of entries) directory.#records.set(id, value)
    return directory
  }

  /** Those that are whole, oldest first. */
  ready(): CheckpointRecord[] {
    return this.#in('ready')
  }

  /** Those that are being made, or were when a gateway ended. */
  creating(): CheckpointRecord[] {
    return this.#in('creating')
  }

  /** By id or name, a whole one. @throws `not_found/checkpoint_not_found` */
  find(idOrName: string): CheckpointRecord {
    const record = this.#records.get(idOrName) ?? this.byName(idOrName)
    if (record?.state === 'ready') return record
    const shown = JSON.stringify(idOrName.slice(0, 100))
    throw new CoppiceError('not_found', 'checkpoint_not_found', `There is no checkpoint ${shown}.`, {
      hint: 'coppice ls --checkpoints',
    })
  }

  /** A whole one, or undefined. */
  byName(name: string): CheckpointRecord | undefined {
    return this.ready().find((record) => record.name === name)
  }

  /** The whole one that a call with this key made, or undefined. */
  byKey(key: string): CheckpointRecord | undefined {
    return this.ready().find((record) => record.key === key)
  }

  /** Whether one of them holds this image. */
  holds(imageDigest: string): boolean {
    return [...this.#records.values()].some((record) => record.imageDigest === imageDigest)
  }

  /** Whether one that cannot be read may hold an image: any, since nobody knows which. */
  get mayHold(): boolean {
    return mayBeEntries(this.skipped)
  }

  /** Records an intent. @throws `already_exists/name_taken` */
  async put(record: CheckpointRecord): Promise<void> {
    const { id, name } = record
    if (name !== null) this.#reserve(name)
    try {
      await this.#store.put(id, record, { expect: 'absent' })
      this.#records.set(id, record)
    } finally {
      if (name !== null) this.#reserved.delete(name)
    }
  }

  async update(id: string, change: (current: CheckpointRecord) => CheckpointRecord): Promise<CheckpointRecord> {
    const { value } = await this.#store.update(id, change)
    this.#records.set(id, value)
    return value
  }

  async remove(id: string): Promise<void> {
    await this.#store.remove(id)
    this.#records.delete(id)
  }

  /** Removes one that was being made. What throws leaves it on the disk alone, for the next gateway: its name is free at once. */
  async forget(id: string): Promise<void> {
    this.#records.delete(id)
    await this.#store.remove(id)
  }

  #in(state: CheckpointRecord['state']): CheckpointRecord[] {
    return [...this.#records.values()]
      .filter((record) => record.state === state)
      .sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1))
  }

  #reserve(name: string): void {
    const taken = [...this.#records.values()].find((record) => record.name === name)
    if (!taken && !this.#reserved.has(name)) {
      this.#reserved.add(name)
      return
    }
    throw new CoppiceError('already_exists', 'name_taken', `There is a checkpoint named ${name} already.`, {
      facts: { name, ...(taken && { checkpointId: taken.id }) },
      hint: `coppice rm --checkpoints ${name}`,
    })
  }
}
