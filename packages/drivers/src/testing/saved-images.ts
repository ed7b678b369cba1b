import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { ImageStore } from '@coppice/images'
import { Progress } from '@coppice/protocol/wire'
import type { DriverImage, SandboxSpec, SavedFiles } from '../driver.ts'
import { makeBusyboxLayer } from './busybox-layer.ts'
import { packLayer } from './engine-subject.ts'
import type { Workspace } from './workspace.ts'

const none = Progress.none()

/** What a gateway makes of saved files: images of a store, on the busybox image that a subject's sandboxes are made from. */
export class SavedImages {
  readonly #store: ImageStore
  readonly #uidBase: number
  readonly #packed: boolean

  private constructor(store: ImageStore, uidBase: number, packed: boolean) {
    this.#store = store
    this.#uidBase = uidBase
    this.#packed = packed
  }

  /** `packed`: its driver wants blobs. */
  static async open(workspace: Workspace, uidBase: number, packed: boolean): Promise<SavedImages> {
    const store = await ImageStore.open(join(workspace.path, 'store'))
    const tar = join(workspace.path, 'base.tar')
    packLayer(makeBusyboxLayer(join(workspace.path, 'base'), 0), tar)
    await store.importStream(createReadStream(tar), { name: 'base', format: 'rootfs' }, none)
    return new SavedImages(store, uidBase, packed)
  }

  /** The image of a sandbox with saved files on top. The files are given back. */
  async onTop({ image }: SandboxSpec, saved: SavedFiles): Promise<DriverImage> {
    try {
      const base = await this.#store.resolve(/^sha256:0+$/.test(image.digest) ? 'base' : image.digest)
      // Held for good: nothing is collected here.
      const derived = (await this.#store.derive(base, saved, 'test', none)).image
      const layers = this.#packed ? [] : await this.#store.unpack(derived, { uidBase: this.#uidBase }, none)
      const blobs = this.#packed ? { blobs: await this.#store.storedLayers(derived) } : {}
      return { digest: derived.digest, config: derived.config, layers, ...blobs }
    } finally {
      await saved.dispose()
    }
  }
}
