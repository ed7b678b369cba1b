import type { Progress } from '@coppice/protocol/wire'
import type { SavedFiles } from '../driver.ts'
import { isAlive, ownIdentity } from '../host/process.ts'
import type { SandboxFolder } from '../lifecycle/folder.ts'
import { PackedLayer } from '../lifecycle/packed-layer.ts'
import { readRecord } from '../lifecycle/record.ts'
import { markedFolders, readSaveMark, removeSaveMark, writeSaveMark } from '../lifecycle/save-mark.ts'
import type { SandboxCgroups } from './cgroups/cgroups.ts'
import { overlayFolders } from './overlay.ts'

/** What every sandbox is given anew, or has mounted. */
const OWN = [
  ...['.coppice', '.coppice-run', '.coppice-state', '.coppice-cgroup'],
  ...['etc/hosts', 'etc/hostname', 'etc/resolv.conf'],
]

/** Saves what sandboxes have written over their image: it is packed into a file while they are held still, and read from there. */
export class OciSaves {
  readonly #root: string
  readonly #cgroups: SandboxCgroups
  readonly #uidBase: number

  /** `root`: folder of the driver. */
  constructor(root: string, cgroups: SandboxCgroups, uidBase: number) {
    this.#root = root
    this.#cgroups = cgroups
    this.#uidBase = uidBase
  }

  /** See `Driver.saveFiles`. */
  async save(folder: SandboxFolder, progress: Progress): Promise<SavedFiles> {
    const layer = await PackedLayer.open(folder.path)
    const dispose = () => layer.close()
    try {
      const { upper } = overlayFolders(folder.path)
      const pack = () => layer.pack(upper, { uidBase: this.#uidBase, leaveOut: OWN }, progress)
      await this.#still(folder, progress, pack)
    } catch (cause) {
      await dispose()
      throw cause
    }
    return { form: 'layer', chunks: layer.chunks(progress), leaveOut: [], sizeBytes: layer.sizeBytes, dispose }
  }

  /** Lets sandboxes go on that were held still by a process that is gone. */
  tidyAll(): void {
    for (const folder of markedFolders(this.#root)) {
      const mark = readSaveMark(folder)
      if (!mark || isAlive(mark.by)) continue
      this.#cgroups.unfreeze(folder.id)
      removeSaveMark(folder)
    }
  }

  async #still<T>(folder: SandboxFolder, progress: Progress, work: () => Promise<T>): Promise<T> {
    if ((await readRecord(folder.record))?.phase !== 'running') return work()
    writeSaveMark(folder, { by: ownIdentity(), what: {} })
    try {
      await this.#cgroups.freeze(folder.id, progress)
      try {
        return await work()
      } finally {
        this.#cgroups.unfreeze(folder.id)
      }
    } finally {
      removeSaveMark(folder)
    }
  }
}
