import { readdir, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Reserve } from '@coppice/limits'
import { CoppiceError } from '@coppice/protocol/wire'
import { registryFault, withFaults } from './faults.ts'
import { FileStore } from './file-store.ts'
import { KindFolder, makeFolder } from './kind-folder.ts'
import { checkKind, isKind, isPlainObject } from './record.ts'
import type { EntryValue, Parse, Registry, Store } from './store.ts'
import { type SweepResult, sweepFolder, TOMBSTONE_AGE_MS } from './sweep.ts'

/**
 * A registry of one file per entry: `<dir>/<kind>/<sha256 of the id>.json`, files 0600, folders 0700. Any number of
 * processes may use one folder at the same time; it must be on a local file system with hard links. Beside the kinds it keeps a file
 * `reserve`: 1 MiB, so that on a full disk entries can be removed.
 */
export class FileRegistry implements Registry {
  readonly dir: string
  readonly #reserve: Reserve
  readonly #stores = new Map<string, Store<EntryValue>>()

  private constructor(dir: string) {
    this.dir = dir
    this.#reserve = new Reserve(dir)
  }

  /** Opens the registry in the folder `place` and makes the folder when it is not there. */
  static async open(place: string): Promise<FileRegistry> {
    const dir = resolve(place)
    await withFaults(dir, async () => {
      await makeFolder(dir)
      if (!(await stat(dir)).isDirectory())
        throw new CoppiceError('unavailable', 'registry_io', `${dir} is not a folder.`)
      await readdir(dir)
    })
    return new FileRegistry(dir)
  }

  /** The store of one kind. The same object for the same kind; `parse` counts the first time. */
  kind<T extends EntryValue>(name: string, parse: Parse<T> = anyObject): Store<T> {
    checkKind(name)
    const known = this.#stores.get(name)
    if (known) return known as Store<T>
    const store = new FileStore<T>(new KindFolder(this.dir, name), parse, this.#reserve)
    this.#stores.set(name, store as unknown as Store<EntryValue>)
    return store
  }

  /**
   * Removes leftovers of crashed writers (older than 1 hour) and forgets removals (older than 7 days), in every kind's
   * folder; keeps the reserve full. Only one process at a time may do this: the gateway of the home. Throws when the registry cannot be read; what
   * hinders one folder or one file only is in `failed`.
   */
  sweep(now = Date.now(), tombstoneMs = TOMBSTONE_AGE_MS): Promise<SweepResult> {
    return withFaults(this.dir, async () => {
      await this.#reserve.fill()
      const result: SweepResult = { leftovers: 0, tombstones: 0, failed: [] }
      for (const kind of await this.#kindsOnDisk()) {
        const folder = new KindFolder(this.dir, kind)
        try {
          const swept = await sweepFolder(folder, now, tombstoneMs)
          result.leftovers += swept.leftovers
          result.tombstones += swept.tombstones
          result.failed.push(...swept.failed)
        } catch (error) {
          result.failed.push({ path: folder.path, detail: registryFault(error, folder.path).message })
        }
      }
      return result
    })
  }

  /**
   * Runs `work`, which writes something small beside the registry that has to be written: where there is no room for it, once more
   * with the registry's reserve. `work` leaves nothing when it throws.
   */
  lend<T>(work: () => Promise<T>): Promise<T> {
    return this.#reserve.lend(work)
  }

  /** Kinds that have a folder, in the order of their code units: those of other versions too. */
  kinds(): Promise<string[]> {
    return withFaults(this.dir, () => this.#kindsOnDisk())
  }

  async #kindsOnDisk(): Promise<string[]> {
    const names = await readdir(this.dir, { withFileTypes: true })
    return names
      .filter((entry) => entry.isDirectory() && isKind(entry.name))
      .map((entry) => entry.name)
      .sort()
  }
}

function anyObject<T extends EntryValue>(value: unknown): T {
  if (!isPlainObject(value)) throw new TypeError('The value is not an object.')
  return value as T
}
