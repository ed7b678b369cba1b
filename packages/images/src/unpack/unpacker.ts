import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncFolder } from '@coppice/limits'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { bulkThread } from '../bulk/bulk-thread.ts'
import { errnoOf, storeFault } from '../faults.ts'
import { requirePrograms } from '../host/programs.ts'
import { runChecked } from '../host/run.ts'
import { hexOf } from '../store/digest.ts'
import { imageDigests } from '../store/garbage.ts'
import type { Layout, ResolvedImage } from '../store/layout.ts'
import { requireStoreRoom } from '../store/room.ts'
import type { Descriptor } from '../store/schemas.ts'
import { StoreDesk } from '../store/store-desk.ts'
import { SharedWork } from './shared-work.ts'
import { UID_COUNT } from './user-namespace.ts'
import { applyRemovals } from './whiteouts.ts'

/** Unpacks layers, each once for each range of user ids: `unpacked/<uid base>/<hex of the diff id>`. */
export class Unpacker {
  readonly #layout: Layout
  readonly #maxUnpackedBytes: number
  readonly #work = new SharedWork<void>()

  constructor(layout: Layout, maxUnpackedBytes: number) {
    this.#layout = layout
    this.#maxUnpackedBytes = maxUnpackedBytes
  }

  /** Folders of all layers, lowest first. A folder that exists is whole and on the disk. */
  async unpack(image: ResolvedImage, uidBase: number, progress: Progress): Promise<string[]> {
    if (!Number.isInteger(uidBase) || uidBase < 0 || uidBase + UID_COUNT > 2 ** 32 - 1) {
      throw new CoppiceError('invalid_argument', 'invalid_uid_base', `${uidBase} cannot be the first id of a range.`)
    }
    const hold = this.#layout.holds.open(...imageDigests(image))
    try {
      await this.#requireRoom(image, uidBase)
      const folders: string[] = []
      for (const [at, diffId] of image.diffIds.entries()) {
        const layer = image.manifest.layers[at]
        if (layer) folders.push(await this.#layer(layer, diffId, uidBase, progress))
      }
      return folders
    } finally {
      hold.release()
    }
  }

  /** Nobody knows what a packed layer unpacks to before it was; it is not less than what it has packed. */
  async #requireRoom(image: ResolvedImage, uidBase: number): Promise<void> {
    let needed = 0
    for (const [at, diffId] of image.diffIds.entries()) {
      if (!(await exists(this.#layout.unpackedPath(uidBase, hexOf(diffId))))) {
        needed += image.manifest.layers[at]?.size ?? 0
      }
    }
    if (needed > 0) requireStoreRoom(this.#layout.dir, needed, 'unpacking the image, at least,')
  }

  async #layer(layer: Descriptor, diffId: string, uidBase: number, progress: Progress): Promise<string> {
    const target = this.#layout.unpackedPath(uidBase, hexOf(diffId))
    if (!(await exists(target))) {
      await this.#work.run(target, (shared) => this.#make(target, layer, diffId, uidBase, shared), progress)
    }
    return target
  }

  async #make(target: string, layer: Descriptor, diffId: string, uidBase: number, progress: Progress): Promise<void> {
    const hold = this.#layout.holds.open(layer.digest, diffId)
    const draft = this.#layout.scratch.newPath()
    try {
      await requirePrograms('nsenter', 'setpriv', 'tar', 'unshare')
      const args = {
        layer: { digest: layer.digest, size: layer.size },
        storeDir: this.#layout.dir,
        target: draft,
        uidBase,
        diffId,
        maxUnpackedBytes: this.#maxUnpackedBytes,
      }
      const desk = new StoreDesk(this.#layout, hold)
      const removals = await bulkThread.run('extract', args, desk, progress)
      await applyRemovals(draft, uidBase, removals, this.#layout.scratch.newPath(), progress)
      // Thousands of files: one call that writes out the file system is far cheaper than a sync of each.
      await runChecked(['sync', '--file-system', draft], {}, progress)
      await mkdir(dirname(target), { recursive: true, mode: 0o700 })
      await putInPlace(draft, target)
      await syncFolder(dirname(target))
    } catch (error) {
      throw storeFault(error, target)
    } finally {
      await rm(draft, { recursive: true, force: true })
      hold.release()
    }
  }
}

/** Another process may have been faster; what it has put there is the same. */
async function putInPlace(draft: string, target: string): Promise<void> {
  try {
    await rename(draft, target)
  } catch (error) {
    if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false
    throw storeFault(error, path)
  }
}
