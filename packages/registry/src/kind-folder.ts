import { mkdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { syncFolder } from '@coppice/limits'
import { errnoOf } from './faults.ts'
import { SharedSync } from './shared-sync.ts'

/** The folder of one kind, and the names in it. */
export class KindFolder {
  readonly kind: string
  readonly path: string
  readonly #sync: SharedSync
  #ensured: Promise<void> | undefined

  constructor(registryDir: string, kind: string) {
    this.kind = kind
    this.path = join(registryDir, kind)
    this.#sync = new SharedSync(() => syncFolder(this.path))
  }

  base(stem: string): string {
    return `${this.path}/${stem}.json`
  }

  draft(stem: string, nonce: string): string {
    return `${this.path}/${stem}.${nonce}.new`
  }

  slot(stem: string, parentNonce: string): string {
    return `${this.path}/${stem}.${parentNonce}.next`
  }

  /** Makes the folder, mode 0700, and makes that durable, whoever has made it. */
  ensure(): Promise<void> {
    this.#ensured ??= this.#make().catch((error) => {
      this.#ensured = undefined
      throw error
    })
    return this.#ensured
  }

  async #make(): Promise<void> {
    await makeFolder(this.path)
    await syncFolder(dirname(this.path))
  }

  /** Returns when every link, rename and unlink in the folder so far is on the disk. */
  sync(): Promise<void> {
    return this.#sync.request()
  }

  /** Throws the file system's error when the registry itself is not there: a kind without entries is another thing. */
  async checkRegistry(): Promise<void> {
    await stat(dirname(this.path))
  }
}

/**
 * Makes a folder, mode 0700, with those above it that are missing; what was made is on the disk. Not Node's recursive mkdir:
 * on a read-only file system that one says ENOENT, as if something were not there.
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    if (!(await makeOne(path))) return
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT' || dirname(path) === path) throw error
    await makeFolder(dirname(path))
    await makeOne(path)
  }
  await syncFolder(dirname(path))
}

/** False when it is there already. */
async function makeOne(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: 0o700 })
    return true
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return false
    throw error
  }
}
