import { renameSync } from 'node:fs'
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '../faults.ts'
import { hexOf } from './digest.ts'

/** Age after which a download that nobody went on with is given up: 7 days. */
const MAX_AGE_MS = 7 * 24 * 3600 * 1000

/** Behind the name of one that is being removed. */
const REMOVED = '.removed'

/**
 * Blobs that have come in part, named by the digest that they shall have. Nothing counts that is here; whoever goes on with
 * one reads it again for its hash. They outlive the process, so that a download that was killed goes on where it was cut.
 */
export class Partials {
  readonly dir: string

  /** @param dir as `open` made it. */
  constructor(dir: string) {
    this.dir = dir
  }

  static async open(dir: string): Promise<Partials> {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    const partials = new Partials(dir)
    const now = Date.now()
    await partials.remove((_, changedMs) => now - changedMs > MAX_AGE_MS)
    return partials
  }

  path(digest: string): string {
    return join(this.dir, hexOf(digest))
  }

  /** Bytes that have come of a blob. */
  async size(digest: string): Promise<number> {
    const found = await stat(this.path(digest)).catch(() => undefined)
    return found?.size ?? 0
  }

  /**
   * Removes those for which `doomed` is true, and returns how many and their bytes. One is out of its place in the step of the event
   * loop in which that was asked: whoever begins to download the blob after that begins anew, in a file of its own.
   */
  async remove(doomed: (digest: string, changedMs: number) => boolean): Promise<{ count: number; bytes: number }> {
    const removed = { count: 0, bytes: 0 }
    for (const name of await readdir(this.dir)) {
      const path = join(this.dir, name)
      try {
        const info = await stat(path)
        const killed = name.endsWith(REMOVED)
        if (!killed && !doomed(`sha256:${name}`, info.mtimeMs)) continue
        const gone = killed ? path : `${path}${REMOVED}`
        if (!killed) renameSync(path, gone)
        await rm(gone, { force: true, recursive: true })
        removed.count++
        removed.bytes += info.size
      } catch (error) {
        // It became a blob in this moment.
        if (errnoOf(error) !== 'ENOENT') throw error
      }
    }
    return removed
  }
}
