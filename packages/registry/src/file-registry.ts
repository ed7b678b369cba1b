import { mkdir, readdir, stat } from 'node:fs/promises'
import { CoppiceError } from '@coppice/protocol/wire'
import { withFaults } from './faults.ts'
import { FileStore } from './file-store.ts'
import { KindFolder } from './kind-folder.ts'
import { checkKind, isPlainObject } from './record.ts'
import type { EntryValue, Parse, Registry, Store } from './store.ts'
import { sweepFolder } from './sweep.ts'

/** What a sweep removed. */
export interface SweepResult {
  /** Files that crashed writers left behind. */
  leftovers: number
  /** Removals that were remembered long enough. */
  tombstones: number
}

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

  /** Opens the registry in `dir` and makes the folder when it is not there. */
  static async open(dir: string): Promise<FileRegistry> {
    await withFaults(dir, async () => {
      await mkdir(dir, { recursive: true, mode: 0o700 })
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
   * folder. Only one process at a time may do this: the gateway of the home.
   */
  sweep(now = Date.now()): Promise<SweepResult> {
    return withFaults(this.dir, async () => {
      const result: SweepResult = { leftovers: 0, tombstones: 0 }
      for (const entry of await readdir(this.dir, { withFileTypes: true })) {
        if (!entry.isDirectory() || !/^[a-z][a-z0-9-]{0,62}$/.test(entry.name)) continue
        const swept = await sweepFolder(new KindFolder(this.dir, entry.name), now)
        result.leftovers += swept.leftovers
        result.tombstones += swept.tombstones
      }
      return result
    })
  }
}

function anyObject<T extends EntryValue>(value: unknown): T {
  if (!isPlainObject(value)) throw new TypeError('The value is not an object.')
  return value as T
}
