import { readdir, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'
import { registryFault, withFaults } from './faults.ts'
import { FileStore } from './file-store.ts'
import { KindFolder, makeFolder } from './kind-folder.ts'
import { checkKind, isKind, isPlainObject } from './record.ts'
import type { EntryValue, Parse, Registry, Store } from './store.ts'
import { type SweepResult, sweepFolder } from './sweep.ts'

/**
 * A registry of one file per entry: `<dir>/<kind>/<sha256 of the id>.json`, files 0600, folders 0700. Any number of
 * processes may use one folder at the same time; it must be on a local file system with hard links.
 */
export class FileRegistry implements Registry {
  readonly dir: string
  readonly #stores = new Map<string, Store<EntryValue>>()

  private constructor(dir: string) {
    this.dir = dir
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
    const store = new FileStore<T>(new KindFolder(this.dir, name), parse)
    this.#stores.set(name, store as unknown as Store<EntryValue>)
    return store
  }

  /**
   * Removes leftovers of crashed writers (older than 1 hour) and forgets removals (older than 7 days), in every kind's
   * folder. Only one process at a time may do this: the gateway of the home. Throws when the registry cannot be read; what
   * hinders one folder or one file only is in `failed`.
   */
  sweep(now = Date.now()): Promise<SweepResult> {
    return withFaults(this.dir, async () => {
      const result: SweepResult = { leftovers: 0, tombstones: 0, failed: [] }
      for (const kind of await this.#kindsOnDisk()) {
        const folder = new KindFolder(this.dir, kind)
        try {
          const swept = await sweepFolder(folder, now)
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
