import type { Readable } from 'node:stream'
import {
  type ArchiveStream,
  bootstrap,
  type ImageListing,
  ImageStore,
  type ImportStreamOptions,
  type InUse,
  type Pruned,
  type ResolvedImage,
  ScratchFolder,
  type StoredLayer,
} from '@coppice/images'
import type { ImageInfo, Progress } from '@coppice/protocol'
import type { Home } from '../state/home.ts'
import { type BuildRequest, buildWith } from './build.ts'
import { anyEngine } from './engines.ts'
import { type Outcome, Transfers } from './transfers.ts'

/** The gateway's images: the store, and the ways into it and out of it. */
export class Images {
  readonly #store: ImageStore
  readonly #home: Home
  readonly #transfers: Transfers

  private constructor(store: ImageStore, home: Home, scratch: ScratchFolder) {
    this.#store = store
    this.#home = home
    this.#transfers = new Transfers(store, scratch)
  }

  /**
   * @param inUse whether a sandbox that exists was made from this image
   * @param warn told what is not an error and should be known
   */
  static async open(home: Home, inUse: InUse, warn: (message: string) => void): Promise<Images> {
    const scratch = await ScratchFolder.open(home.scratch, warn)
    return new Images(await ImageStore.open(home.store, { inUse }), home, scratch)
  }

  /** Images, and those that cannot be shown with the reason. */
  list(): Promise<ImageListing> {
    return this.#store.list()
  }

  /** @throws `not_found/image_not_found` */
  resolve(reference: string): Promise<ResolvedImage> {
    return this.#store.resolve(reference)
  }

  /** An image that stays until `release` is called. @throws `not_found/image_not_found` */
  acquire(reference: string): Promise<{ image: ResolvedImage; release: () => void }> {
    return this.#store.acquire(reference)
  }

  /** Folders of the unpacked layers, lowest first. Unpacks what is not yet. */
  layers(image: ResolvedImage, uidBase: number, progress: Progress): Promise<string[]> {
    return this.#store.unpack(image, { uidBase }, progress)
  }

  /** The layers packed, for drivers whose engines unpack by themselves. */
  blobs(image: ResolvedImage): Promise<StoredLayer[]> {
    return this.#store.storedLayers(image)
  }

  /**
   * Imports an archive as it comes.
   * @throws `invalid_argument`, `cancelled/upload_cut`, `resource_exhausted/disk_full`
   */
  async import(stream: Readable, options: ImportStreamOptions, progress: Progress): Promise<Outcome> {
    const { transferred, ...image } = await this.#store.importStream(stream, { source: 'import', ...options }, progress)
    return { image, facts: { ...transferred } }
  }

  /** An image as an archive, made while it is read. */
  export(
    reference: string,
    options: { format?: 'oci-archive' | 'docker-archive'; name?: string },
    progress: Progress,
  ): Promise<ArchiveStream> {
    if (options.format !== 'docker-archive') return this.#store.openExport(reference, progress, options.name)
    return this.#store.openDockerArchive(reference, options.name === undefined ? {} : { name: options.name }, progress)
  }

  /** See `Transfers`. */
  pull(source: string, options: { name?: string; platform?: string }, progress: Progress): Promise<Outcome> {
    return this.#transfers.pull(source, options, progress)
  }

  /** See `Transfers`. */
  push(reference: string, target: string, importCommand: string | undefined, progress: Progress): Promise<Outcome> {
    return this.#transfers.push(reference, target, importCommand, progress)
  }

  /** Builds with an engine of this machine; the result is an image of this store. @throws `unsupported/no_builder`, `build_failed` */
  async build(
    context: AsyncIterable<Uint8Array>,
    name: string,
    request: BuildRequest,
    onLine: (line: string) => void,
    progress: Progress,
  ): Promise<Outcome> {
    const engine = await anyEngine(progress)
    const take = (archive: AsyncIterable<Uint8Array>) =>
      this.#store.importStream(archive, { name, format: 'docker-archive', source: 'build' }, progress)
    const { transferred, ...image } = await buildWith(engine, context, request, onLine, take, progress)
    return { image, facts: { ...transferred, engine: engine.dialect.kind } }
  }

  /** Makes the image `base`; returns at once when it is there, unless forced. */
  bootstrap(force: boolean, progress: Progress): Promise<ImageInfo> {
    return bootstrap({ store: this.#store, cacheDir: this.#home.cache, force }, progress)
  }

  async remove(reference: string): Promise<void> {
    await this.#store.remove(reference)
  }

  /** The layers of every image that has a name, lowest first, as one string each: what engines may keep. */
  async layerChains(): Promise<Set<string>> {
    const { images } = await this.#store.list()
    const chains = images.map(async ({ digest }) => (await this.#store.resolve(digest)).diffIds.join(' '))
    return new Set(await Promise.all(chains))
  }

  prune(): Promise<Pruned> {
    return this.#store.prune()
  }
}
