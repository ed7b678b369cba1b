import { setTimeout as sleep } from 'node:timers/promises'
import type { Reserve } from '@coppice/limits'
import { CoppiceError } from '@coppice/protocol/wire'
import { carryUnknown } from './carry.ts'
import { advance, readBase } from './chain.ts'
import { withFaults } from './faults.ts'
import type { KindFolder } from './kind-folder.ts'
import { listFolder } from './list-folder.ts'
import { BadRecord, type EntryRecord, fileStem, newNonce, RECORD_SCHEMA } from './record.ts'
import type {
  Change,
  Entry,
  EntryValue,
  Listing,
  Parse,
  PutOptions,
  RemoveOptions,
  Store,
  UpdateOptions,
} from './store.ts'

/** Milliseconds for which a change competes with other writers of the same entry. */
const CONTENTION_LIMIT_MS = 30_000

/** Longest random pause between two tries, milliseconds. It starts at 1 and doubles. */
const MAX_PAUSE_MS = 32

/** What the next version holds: a value, a removal, or nothing to do. */
type Step = { value: EntryValue } | 'remove' | 'leave'

/** One kind in a folder, one file per entry. See chain.ts for how versions follow one another. */
export class FileStore<T extends EntryValue> implements Store<T> {
  readonly #folder: KindFolder
  readonly #parse: Parse<T>
  readonly #reserve: Reserve
  /** The last change of each entry in this process: they queue here instead of competing on disk. */
  readonly #queues = new Map<string, Promise<unknown>>()

  /** @param reserve of the registry's disk */
  constructor(folder: KindFolder, parse: Parse<T>, reserve: Reserve) {
    this.#folder = folder
    this.#parse = parse
    this.#reserve = reserve
  }

  async get(id: string): Promise<Entry<T> | undefined> {
    const stem = fileStem(id)
    const record = await this.#read(stem)
    return record?.value === undefined ? undefined : this.#entry(record)
  }

  list(keep: (value: T) => T = (value) => value): Promise<Listing<T>> {
    return withFaults(this.#folder.path, () => listFolder(this.#folder, (value) => keep(this.#parse(value))))
  }

  async put(id: string, value: T, options: PutOptions = {}): Promise<Entry<T>> {
    const { expect } = options
    const record = await this.#change(id, (current) => {
      if (expect === 'absent') {
        if (current?.value !== undefined) {
          throw new CoppiceError(
            'already_exists',
            'entry_exists',
            `There is a ${this.#folder.kind} entry "${id}" already.`,
            {
              facts: { version: current.version },
            },
          )
        }
      } else if (expect !== undefined) {
        this.#checkVersion(id, current, expect)
      }
      return { value }
    })
    return { id, version: record?.version ?? 0, value }
  }

  async update(id: string, change: Change<T>, options: UpdateOptions = {}): Promise<Entry<T>> {
    let latest: T | undefined
    const record = await this.#change(
      id,
      async (current) => {
        if (current?.value === undefined) {
          throw new CoppiceError('not_found', 'entry_not_found', `There is no ${this.#folder.kind} entry "${id}".`)
        }
        const { value } = this.#entry(current)
        const next = await change(value, current.version)
        latest = next === undefined ? value : carryUnknown(current.value, value, next)
        return next === undefined ? 'leave' : { value: latest }
      },
      options.reserve,
    )
    return { id, version: record?.version ?? 0, value: latest as T }
  }

  async remove(id: string, options: RemoveOptions = {}): Promise<boolean> {
    let removed = false
    await this.#change(
      id,
      (current) => {
        if (options.expect !== undefined) this.#checkVersion(id, current, options.expect)
        removed = current?.value !== undefined
        return removed ? 'remove' : 'leave'
      },
      true,
    )
    return removed
  }

  #checkVersion(id: string, current: EntryRecord | undefined, expected: number): void {
    const actual = current?.value === undefined ? null : current.version
    if (actual === expected) return
    throw new CoppiceError(
      'conflict',
      'version_mismatch',
      `The ${this.#folder.kind} entry "${id}" was changed meanwhile.`,
      {
        facts: { expected, actual },
      },
    )
  }

  /** Runs `step` on the current version until its outcome lands. Returns the version that is then current. */
  #change(
    id: string,
    step: (current: EntryRecord | undefined) => Step | Promise<Step>,
    reserve = false,
  ): Promise<EntryRecord | undefined> {
    const stem = fileStem(id)
    const turn = (this.#queues.get(stem) ?? Promise.resolve()).then(() => this.#compete(id, stem, step, reserve))
    const settled = turn
      .catch(() => undefined)
      .finally(() => {
        if (this.#queues.get(stem) === settled) this.#queues.delete(stem)
      })
    this.#queues.set(stem, settled)
    return turn
  }

  async #compete(
    id: string,
    stem: string,
    step: (current: EntryRecord | undefined) => Step | Promise<Step>,
    reserve: boolean,
  ): Promise<EntryRecord | undefined> {
    const deadline = performance.now() + CONTENTION_LIMIT_MS
    for (let pause = 1; ; pause = Math.min(pause * 2, MAX_PAUSE_MS)) {
      const current = await this.#read(stem)
      const outcome = await step(current)
      if (outcome === 'leave') return current
      const next = this.#successor(id, current, outcome)
      if (await this.#advance(stem, current, next, reserve)) {
        await this.#reserve.refill()
        return next
      }
      if (performance.now() > deadline) {
        throw new CoppiceError(
          'unavailable',
          'entry_contended',
          `The ${this.#folder.kind} entry "${id}" is never free.`,
          {
            facts: { waitedMs: CONTENTION_LIMIT_MS },
          },
        )
      }
      await sleep(Math.random() * pause)
    }
  }

  #successor(id: string, current: EntryRecord | undefined, outcome: { value: EntryValue } | 'remove'): EntryRecord {
    const { value: _value, removedAt: _removedAt, ...kept } = current ?? {}
    return {
      ...kept,
      schema: RECORD_SCHEMA,
      kind: this.#folder.kind,
      id,
      version: (current?.version ?? 0) + 1,
      nonce: newNonce(),
      ...(outcome === 'remove' ? { removedAt: Date.now() } : { value: outcome.value }),
    }
  }

  #read(stem: string): Promise<EntryRecord | undefined> {
    return this.#guard(stem, async () => {
      const record = await readBase(this.#folder, stem)
      if (!record) await this.#folder.checkRegistry()
      return record
    })
  }

  #advance(stem: string, current: EntryRecord | undefined, next: EntryRecord, reserve: boolean): Promise<boolean> {
    const work = () => advance(this.#folder, stem, current, next)
    return this.#guard(stem, () => (reserve ? this.#reserve.lend(work) : work()))
  }

  /** Types what goes wrong with one entry's files. */
  async #guard<R>(stem: string, work: () => Promise<R>): Promise<R> {
    const path = this.#folder.base(stem)
    try {
      return await withFaults(path, work)
    } catch (error) {
      if (error instanceof BadRecord) throw unreadable(path, error)
      throw error
    }
  }

  #entry(record: EntryRecord): Entry<T> {
    try {
      return { id: record.id, version: record.version, value: this.#parse(record.value) }
    } catch (cause) {
      const detail = cause instanceof Error ? cause.message : String(cause)
      throw unreadable(this.#folder.base(fileStem(record.id)), new BadRecord('invalid_value', detail))
    }
  }
}

function unreadable(base: string, bad: BadRecord): CoppiceError {
  const path = bad.path ?? base
  return new CoppiceError(
    'failed_precondition',
    'entry_unreadable',
    `The entry in ${path} cannot be used: ${bad.message}`,
    {
      facts: { path, skip: bad.reason },
      hint: `cat ${path}`,
      cause: bad,
    },
  )
}
