import type { BuildContext } from '@coppice/engines'
import {
  type AddedLayer,
  bootstrap,
  checkName,
  type DerivedImage,
  type HeldArchive,
  type ImageListing,
  ImageStore,
  type ImportStreamOptions,
  type InUse,
  type Pruned,
  type RegistryOptions,
  type ResolvedImage,
  ScratchFolder,
  StagedFiles,
  type StoredLayer,
} from '@coppice/images'
import { type ArchivePrint, type ImageInfo, Progress } from '@coppice/protocol'
import type { Home } from '../state/home.ts'
import { type BuildRequest, buildWith } from './build.ts'
import { BuildTags } from './build-tags.ts'
import { removeLeftovers } from './container-target.ts'
import { anyEngine } from './engines.ts'
import { type Outcome, Transfers } from './transfers.ts'

/** The gateway's images: the store, and the ways into it and out of it. */
export class Images {
  readonly #store: ImageStore
  readonly #home: Home
  readonly #transfers: Transfers
  readonly #tags: BuildTags

  private constructor(store: ImageStore, home: Home, scratch: ScratchFolder, staged: StagedFiles, tags: BuildTags) {
    this.#store = store
    this.#tags = tags
    this.#home = home
    this.#transfers = new Transfers(store, scratch, staged)
  }

  /**
   * @param inUse whether a sandbox that exists was made from this image, or a checkpoint holds it
   * @param registry how registries are talked to
   * @param warn told what is not an error and should be known
   */
  static async open(
    home: Home,
    inUse: InUse,
    registry: RegistryOptions,
    warn: (message: string) => void,
  ): Promise<Images> {
    const scratch = await ScratchFolder.open(home.scratch, warn)
    const staged = await StagedFiles.open(home.scratch)
    void removeLeftovers(staged, Progress.none(), warn)
    const tags = new BuildTags(home)
    void tags.sweep(warn)
    return new Images(await ImageStore.open(home.store, { inUse, registry }), home, scratch, staged, tags)
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

  /** An image of one that is held and one more layer on top. See `ImageStore.derive`. */
  derive(base: ResolvedImage, added: AddedLayer, source: string, progress: Progress): Promise<DerivedImage> {
    return this.#store.derive(base, added, source, progress)
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
  async import(stream: AsyncIterable<Uint8Array>, options: ImportStreamOptions, progress: Progress): Promise<Outcome> {
    const work = { source: 'import', remember: true, ...options }
    const { transferred, ...image } = await this.#store.importStream(stream, work, progress)
    return { image, facts: { ...transferred } }
  }

  /**
   * Whether an image came from an archive before. With the digest of all of it that image gets its name, as by an import.
   * @throws `invalid_argument/invalid_image_name`
   */
  async known(
    { digest, ...end }: Omit<ArchivePrint, 'digest'> & { digest?: string },
    options: ImportStreamOptions,
    progress: Progress,
  ): Promise<{ known: boolean; image?: ImageInfo }> {
    if (digest === undefined) return { known: await this.#store.mayBeKnown(end) }
    const image = await this.#store.known({ ...end, digest }, { source: 'import', ...options }, progress)
    return image ? { known: true, image } : { known: false }
  }

  /** An image as an archive, made while it is read. Whoever may not read to the end releases it. */
  export(
    reference: string,
    options: { format?: 'oci-archive' | 'docker-archive'; name?: string },
    progress: Progress,
  ): Promise<HeldArchive> {
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

  /**
   * Builds with an engine of this machine; the result is an image of this store.
   * @throws `invalid_argument/invalid_image_name` before anything is built, `unsupported/no_builder`, `build_failed`
   */
  async build(
    context: BuildContext,
    name: string,
    request: BuildRequest,
    onLine: (line: string) => void,
    progress: Progress,
  ): Promise<Outcome> {
    checkName(name)
    const engine = await anyEngine(progress)
    const take = (archive: AsyncIterable<Uint8Array>) =>
      this.#store.importStream(archive, { name, format: 'docker-archive', source: 'build' }, progress)
    const { transferred, ...image } = await buildWith(engine, this.#tags, context, request, onLine, take, progress)
    return { image, facts: { ...transferred, engine: engine.dialect.kind } }
  }

  /** Makes the image `base`; returns at once when it is there, unless forced. */
  bootstrap(force: boolean, progress: Progress): Promise<ImageInfo> {
    return bootstrap({ store: this.#store, cacheDir: this.#home.cache, force }, progress)
  }

  async remove(reference: string): Promise<void> {
    await this.#store.remove(reference)
  }

  /**
   * The layers of every image that has a name, lowest first, as one string each: what engines may keep.
   * @param more digests of others that they may keep too
   */
  async layerChains(more: string[]): Promise<Set<string>> {
    const { images } = await this.#store.list()
    const kept = [...images, ...more.map((digest) => ({ digest }))]
    const chains = kept.map(async ({ digest }) => (await this.#store.resolve(digest)).diffIds.join(' '))
    return new Set(await Promise.all(chains))
  }

  /** Removes what nobody needs, as after a removal. */
  async collect(): Promise<void> {
    await this.#store.collect()
  }

  prune(): Promise<Pruned> {
    return this.#store.prune()
  }
}
