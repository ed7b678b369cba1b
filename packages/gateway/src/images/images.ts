import { createWriteStream } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { bootstrap, type ImageListing, ImageStore, type InUse, type ResolvedImage } from '@coppice/images'
import { CoppiceError, type ImageInfo, newUploadId, type Progress } from '@coppice/protocol'
import type { Home } from '../state/home.ts'

/** How a client says what it sends; `auto` recognises it by its content. */
export type ImportFormat = 'auto' | 'oci-archive' | 'rootfs'

/** The gateway's images: the store, with archives that come and go over HTTP. */
export class Images {
  readonly #store: ImageStore
  readonly #home: Home
  readonly #spool: string

  private constructor(store: ImageStore, home: Home, spool: string) {
    this.#store = store
    this.#home = home
    this.#spool = spool
  }

  /** @param inUse whether a sandbox that exists was made from this image */
  static async open(home: Home, inUse: InUse): Promise<Images> {
    const spool = join(home.cache, 'spool')
    // Only this process writes there, and it has just started: whatever lies there was left by one that was killed.
    await rm(spool, { recursive: true, force: true })
    await mkdir(spool, { recursive: true, mode: 0o700 })
    return new Images(await ImageStore.open(home.store, { inUse }), home, spool)
  }

  /** Images, and those that cannot be shown with the reason. */
  list(): Promise<ImageListing> {
    return this.#store.list()
  }

  /** @throws `not_found/image_not_found` */
  resolve(reference: string): Promise<ResolvedImage> {
    return this.#store.resolve(reference)
  }

  /** Keeps an image from being collected until the returned function is called. */
  hold(image: ResolvedImage): () => void {
    return this.#store.hold(image)
  }

  /** Folders of the unpacked layers, lowest first. Unpacks what is not yet. */
  layers(image: ResolvedImage, uidBase: number, progress: Progress): Promise<string[]> {
    return this.#store.unpack(image, { uidBase }, progress)
  }

  /**
   * Imports an archive from a stream. It is spooled to disk first: an OCI archive may hold its index behind its layers.
   * @throws `invalid_argument`, `resource_exhausted/disk_full`
   */
  async import(stream: Readable, name: string, format: ImportFormat, progress: Progress): Promise<ImageInfo> {
    const file = join(this.#spool, newUploadId())
    try {
      progress.report('Receiving the archive')
      await pipeline(stream, createWriteStream(file, { mode: 0o600 }), { signal: progress.signal }).catch(spoolFailed)
      const source = format === 'oci-archive' ? `oci-archive:${file}` : file
      return await this.#store.import(source, { name, source: 'import' }, progress)
    } finally {
      await rm(file, { force: true })
    }
  }

  /** An image as OCI archive, made while it is read. */
  async export(reference: string, progress: Progress): Promise<{ sizeBytes: number; chunks: AsyncIterable<Buffer> }> {
    return this.#store.openExport(reference, progress)
  }

  /** Makes the image `base`; returns at once when it is there, unless forced. */
  bootstrap(force: boolean, progress: Progress): Promise<ImageInfo> {
    return bootstrap({ store: this.#store, cacheDir: this.#home.cache, force }, progress)
  }

  async remove(reference: string): Promise<void> {
    await this.#store.remove(reference)
  }
}

function spoolFailed(error: NodeJS.ErrnoException): never {
  if (error.code === 'ENOSPC') {
    throw new CoppiceError('resource_exhausted', 'disk_full', 'There is no room for the archive below COPPICE_HOME.', {
      cause: error,
    })
  }
  if (error.code === 'ERR_STREAM_PREMATURE_CLOSE' || error.code === 'ECONNRESET' || error.name === 'AbortError') {
    throw new CoppiceError('cancelled', 'upload_cut', 'The archive did not arrive whole.', { cause: error })
  }
  throw error
}
