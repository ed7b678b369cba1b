import {
  type ArchivePrint,
  CoppiceError,
  type ImageInfo,
  type ImagePlace,
  type Progress,
  parseRegistryReference,
  type RegistryReference,
} from '@coppice/protocol/wire'
import { type AddedLayer, type DerivedImage, deriveImage } from './derive/derivation.ts'
import type { ArchiveStream, HeldArchive } from './export/archive-stream.ts'
import type { DockerArchiveOptions } from './export/docker-archive.ts'
import { Exports, parseTarget } from './export/exports.ts'
import { type StoredLayer, storedLayers } from './export/stored-layers.ts'
import { imageInfo } from './image-info.ts'
import { type ImportedImage, type ImportOptions, type ImportStreamOptions, Imports } from './import/imports.ts'
import { mayBeKnown } from './import/reuse.ts'
import type { RegistryPush } from './registry/push-job.ts'
import type { RegistryOptions } from './registry/settings.ts'
import { type Collected, collectGarbage, type InUse, imageDigests, type Pruned, prune } from './store/garbage.ts'
import { nameOf, withName } from './store/index-file.ts'
import { Layout, type ResolvedImage } from './store/layout.ts'
import { matchReference, sameName } from './store/references.ts'
import { Unpacker } from './unpack/unpacker.ts'

/** Unpacked bytes of one image that are accepted unless configured: 64 GiB. */
const DEFAULT_MAX_UNPACKED_BYTES = 64 * 1024 ** 3

export interface ImageStoreOptions {
  /** Asked before an image without a name is forgotten, and before one is removed. Default: nothing is in use. */
  inUse?: InUse
  /** Unpacked bytes of one layer after which an import or unpack is refused. Default 64 GiB. */
  maxUnpackedBytes?: number
  /** How registries are talked to, unless a single call says otherwise. */
  registry?: RegistryOptions
}

/** Images that can be shown, and those that cannot with the reason. */
export interface ImageListing {
  images: ImageInfo[]
  skipped: { name: string; reason: string }[]
}

/**
 * The images of one Coppice home: an OCI image layout in a folder, and its layers unpacked beside it. One process writes to
 * a store; everything in it may be called at the same time.
 *
 * Nothing counts before it is whole: blobs are hashed, synced and renamed into place, names are given last, and a folder
 * under `unpacked/` is complete. Work that is killed half-way leaves only scratch files, which the next `open` removes,
 * and downloads that the next import goes on with.
 */
export class ImageStore {
  readonly #layout: Layout
  readonly #unpacker: Unpacker
  readonly #inUse: InUse
  readonly #maxUnpackedBytes: number
  readonly #imports: Imports
  readonly #exports: Exports

  private constructor(layout: Layout, options: ImageStoreOptions) {
    this.#layout = layout
    this.#inUse = options.inUse ?? (() => false)
    const { maxUnpackedBytes = DEFAULT_MAX_UNPACKED_BYTES, registry = {} } = options
    this.#maxUnpackedBytes = maxUnpackedBytes
    this.#imports = new Imports(layout, { maxUnpackedBytes, registry, collect: () => this.collect() })
    this.#exports = new Exports(layout, registry)
    this.#unpacker = new Unpacker(layout, maxUnpackedBytes)
  }

  /** Opens the store in `dir`, makes it when it is not there, and removes what killed processes left. */
  static async open(dir: string, options: ImageStoreOptions = {}): Promise<ImageStore> {
    return new ImageStore(await Layout.open(dir), options)
  }

  /**
   * Brings an image in: from a file or folder (root file system archive, OCI archive or layout, docker archive), as
   * `parseImagePlace` reads it. Returns it as it is listed. An image that had the name loses it, and goes away once nobody
   * uses it. Whatever the size, memory is constant, and the work is done in a thread of its own.
   *
   * Errors: `invalid_argument` (`archive_…`, `digest_mismatch`, `malformed_image`, `layout_incomplete`, …),
   * `unsupported/source_kind`, `resource_exhausted/disk_full`, `resource_exhausted/image_too_large`,
   * `failed_precondition/no_image_for_platform`.
   */
  async import(source: string | ImagePlace, options: ImportOptions, progress: Progress): Promise<ImportedImage> {
    return this.#imports.import(source, options, progress)
  }

  /**
   * Brings in an archive that comes as a stream, packed or not: nothing is spooled but the layers that the store lacks. Ends
   * with what `chunks` throws, as `cancelled/upload_cut`; further errors as `import`. After an error the rest of `chunks` is
   * neither read nor closed: that is up to whoever gave them.
   */
  async importStream(
    chunks: AsyncIterable<Uint8Array>,
    options: ImportStreamOptions,
    progress: Progress,
  ): Promise<ImportedImage> {
    return this.#imports.importStream(chunks, options, progress)
  }

  /** Whether an image came from an archive of this size and end: then it is worth while to hash all of it and ask `known`. */
  mayBeKnown(end: Omit<ArchivePrint, 'digest'>): Promise<boolean> {
    return mayBeKnown(this.#layout, end)
  }

  /**
   * The image that came from exactly these bytes with the same `format`, `ref`, `platform` and `config`, under the name that importing
   * them again would give it. Undefined when there is none that is whole: then they have to be imported. Only archives are known that
   * were imported with `remember`, and no longer than their images are.
   */
  known(print: ArchivePrint, options: ImportStreamOptions, progress: Progress): Promise<ImageInfo | undefined> {
    return this.#imports.known(print, options, progress)
  }

  /**
   * Makes an image of one of the store and one more layer on top. What the base says about its programs stays, and the new image has
   * no name: it is held until `release`, and then lives as long as it is in use. Memory is constant, whatever the layer's size.
   * After an error the rest of `added.chunks` is neither read nor closed. Errors: `invalid_argument` (`archive_…`,
   * `digest_mismatch`, `layer_incomplete`), `failed_precondition/too_many_layers`, `resource_exhausted/disk_full`,
   * `resource_exhausted/image_too_large`, `cancelled/upload_cut`.
   *
   * @param base to be held by the caller
   * @param source where it comes from, in words: in the image's history and where it is listed
   */
  derive(base: ResolvedImage, added: AddedLayer, source: string, progress: Progress): Promise<DerivedImage> {
    return deriveImage(this.#layout, base, added, { source, maxUnpackedBytes: this.#maxUnpackedBytes }, progress)
  }

  /** Every image that has a name, by name. One that cannot be read hides no other. */
  async list(): Promise<ImageListing> {
    const listing: ImageListing = { images: [], skipped: [] }
    for (const descriptor of await this.#layout.index.read()) {
      const name = nameOf(descriptor)
      if (name === undefined) continue
      try {
        listing.images.push(imageInfo(await this.#layout.load(descriptor), name))
      } catch (error) {
        listing.skipped.push({ name, reason: CoppiceError.from(error).message })
      }
    }
    listing.images.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    return listing
  }

  /** @param reference a name, a digest, or the first 12 or more hex digits of one. Throws `not_found/image_not_found`. */
  resolve(reference: string): Promise<ResolvedImage> {
    return this.#layout.resolve(reference)
  }

  /** Keeps an image from being collected until the returned function is called, from before an intent is recorded. */
  hold(image: ResolvedImage): () => void {
    return this.#layout.holds.open(...imageDigests(image)).release
  }

  /**
   * Finds an image and keeps it from being collected until `release`, with nothing between the two in which it could go.
   * Throws `not_found/image_not_found`.
   */
  async acquire(reference: string): Promise<{ image: ResolvedImage; release: () => void }> {
    const found = Promise.withResolvers<{ image: ResolvedImage; release: () => void }>()
    // In the turn of its own in which no collection can be half-way.
    await this.#layout.index.change(async (manifests) => {
      const image = await this.#layout.load(matchReference(manifests, reference))
      found.resolve({ image, release: this.hold(image) })
      return undefined
    })
    return found.promise
  }

  /**
   * The image's layers as folders, lowest first, owned as seen by a sandbox whose ids begin at `uidBase`. Each layer is
   * unpacked once; callers at the same time share the work. Never write to these folders.
   */
  unpack(image: ResolvedImage, options: { uidBase: number }, progress: Progress): Promise<string[]> {
    return this.#unpacker.unpack(image, options.uidBase, progress)
  }

  /**
   * Writes an image to a place: an OCI archive (`oci-archive:FILE` or a plain file), a docker archive, an OCI layout folder.
   * A file is whole or not there; a folder names the image when it is whole. For registries see `push`. The name behind the
   * path is the image's there. Throws `unsupported/target_kind`, `failed_precondition/not_a_layout`, `resource_exhausted/disk_full`.
   */
  async export(reference: string, target: string | ImagePlace, progress: Progress): Promise<void> {
    const place = typeof target === 'string' ? parseTarget(target) : target
    const { image, release } = await this.acquire(reference)
    try {
      await this.#exports.write(image, place, progress)
    } finally {
      release()
    }
  }

  /**
   * An image as an OCI archive to be sent on, without a file in between. It is held from now on, until the chunks have ended or
   * `release` is called: whoever may not read to the end calls it.
   */
  openExport(reference: string, progress: Progress, name?: string): Promise<HeldArchive> {
    return this.#open(reference, (image) => this.#exports.ociArchive({ ...image, name: name ?? image.name }, progress))
  }

  /** The same as `docker load` reads it, with all layers or only those that the receiver lacks. */
  openDockerArchive(reference: string, options: DockerArchiveOptions, progress: Progress): Promise<HeldArchive> {
    return this.#open(reference, (image) => this.#exports.dockerArchive(image, options, progress))
  }

  async #open(
    reference: string,
    open: (image: ResolvedImage) => ArchiveStream | Promise<ArchiveStream>,
  ): Promise<HeldArchive> {
    const { image, release } = await this.acquire(reference)
    try {
      const { sizeBytes, chunks } = await open(image)
      return { sizeBytes, chunks: releasing(chunks, release), release }
    } catch (error) {
      release()
      throw error
    }
  }

  /** The image's layers as they are stored, lowest first. They are there as long as the image is held. */
  storedLayers(image: ResolvedImage): Promise<StoredLayer[]> {
    return storedLayers(this.#layout, image)
  }

  /**
   * Sends an image to a registry: only the blobs that the repository lacks, taken over from another repository of the registry
   * where that is known to have them, and the manifest last. Uploads that are cut go on where the registry allows that.
   *
   * @param target `[host[:port]/]name[:tag]`
   */
  async push(
    reference: string,
    target: string | RegistryReference,
    options: { registry?: RegistryOptions },
    progress: Progress,
  ): Promise<RegistryPush> {
    const to = typeof target === 'string' ? parseRegistryReference(target) : target
    const { image, release } = await this.acquire(reference)
    try {
      return await this.#exports.push(image, to, options.registry ?? {}, progress)
    } finally {
      release()
    }
  }

  /**
   * Removes a name, or with a digest all names of an image; the image goes with its last name. Throws
   * `failed_precondition/image_in_use` when it would go and is used, `not_found/image_not_found`.
   */
  async remove(reference: string): Promise<Collected> {
    await this.#layout.index.change(async (manifests) => {
      const { digest, ...target } = matchReference(manifests, reference)
      const name = nameOf({ digest, ...target })
      const byName = name !== undefined && sameName(name, reference)
      const left = manifests.filter((other) => other.digest !== digest || (byName && nameOf(other) !== name))
      if (left.some((other) => other.digest === digest)) return left
      if ((await this.#inUse(digest)) === true) {
        throw new CoppiceError(
          'failed_precondition',
          'image_in_use',
          `The image "${reference}" is used by a sandbox or a checkpoint.`,
          {
            facts: { image: reference, digest },
            hint: 'coppice ls; coppice ls --checkpoints',
          },
        )
      }
      // Somebody may be about to use it: without a name it stays until the collection finds that nobody does.
      return [...left, withName({ digest, ...target }, undefined)]
    })
    return this.collect()
  }

  /** Removes everything that no image needs. It happens by itself after a removal and after a name was given anew. */
  async collect(): Promise<Collected> {
    const { images, blobs, layers } = await collectGarbage(this.#layout, this.#inUse)
    return { images, blobs, layers }
  }

  /**
   * The same, and what cut downloads have left. Safe at any time: what a create or an import holds stays, see `acquire`.
   */
  prune(): Promise<Pruned> {
    return prune(this.#layout, this.#inUse)
  }
}

async function* releasing<T>(chunks: AsyncIterable<T>, release: () => void): AsyncGenerator<T> {
  try {
    yield* chunks
  } finally {
    release()
  }
}
