import { CoppiceError, type ImageConfig, type ImageInfo, type Progress } from '@coppice/protocol/wire'
import { type ArchiveStream, ociArchive, writeArchive } from './export/oci-archive.ts'
import { imageInfo, nameFromFile } from './image-info.ts'
import { importOciArchive, importOciFolder } from './import/oci.ts'
import { recogniseSource } from './import/recognise.ts'
import { importRootfs } from './import/rootfs.ts'
import { type Collected, collectGarbage, type InUse, imageDigests } from './store/garbage.ts'
import type { Hold } from './store/holds.ts'
import { nameOf, withName } from './store/index-file.ts'
import { Layout, type ResolvedImage } from './store/layout.ts'
import { checkName, matchReference, sameName } from './store/references.ts'
import { type Descriptor, IMPORTED_AT, SOURCE } from './store/schemas.ts'
import { Unpacker } from './unpack/unpacker.ts'

/** Unpacked bytes of one image that are accepted unless configured: 64 GiB. */
const DEFAULT_MAX_UNPACKED_BYTES = 64 * 1024 ** 3

const NO_CONFIG: ImageConfig = { env: {}, cwd: '/', user: '', entrypoint: [], cmd: [], labels: {} }

export interface ImageStoreOptions {
  /** Asked before an image without a name is forgotten, and before one is removed. Default: nothing is in use. */
  inUse?: InUse
  /** Unpacked bytes of one layer after which an import or unpack is refused. Default 64 GiB. */
  maxUnpackedBytes?: number
}

export interface ImportOptions {
  /** Default: the name in the OCI layout, else one made from the file's name. */
  name?: string
  /** What the image says about its programs; for root file system archives, which do not say it themselves. */
  config?: ImageConfig
  /** Shown as the image's source. Default: what was imported. */
  source?: string
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
 * under `unpacked/` is complete. Work that is killed half-way leaves only scratch files, which the next `open` removes.
 */
export class ImageStore {
  readonly #layout: Layout
  readonly #unpacker: Unpacker
  readonly #inUse: InUse
  readonly #maxUnpackedBytes: number

  private constructor(layout: Layout, options: ImageStoreOptions) {
    this.#layout = layout
    this.#inUse = options.inUse ?? (() => false)
    this.#maxUnpackedBytes = options.maxUnpackedBytes ?? DEFAULT_MAX_UNPACKED_BYTES
    this.#unpacker = new Unpacker(layout, this.#maxUnpackedBytes)
  }

  /** Opens the store in `dir`, makes it when it is not there, and removes what killed processes left. */
  static async open(dir: string, options: ImageStoreOptions = {}): Promise<ImageStore> {
    return new ImageStore(await Layout.open(dir), options)
  }

  /**
   * Brings an image in: a root file system archive, an OCI archive, an OCI layout folder (see `recogniseSource`). Returns it
   * as it is listed. An image that had the name loses it, and goes away once nobody uses it.
   *
   * Errors: `invalid_argument` (`archive_…`, `digest_mismatch`, `malformed_image`, `layout_incomplete`, …),
   * `unsupported/source_kind`, `resource_exhausted/disk_full`, `resource_exhausted/image_too_large`.
   */
  async import(source: string, options: ImportOptions, progress: Progress): Promise<ImageInfo> {
    if (options.name !== undefined) checkName(options.name)
    const hold = this.#layout.holds.open()
    try {
      const found = await this.#read(source, options, hold, progress)
      const name = options.name ?? found.name ?? nameFromFile(source)
      return await this.#add(found.descriptor, name, options.source ?? source, progress)
    } finally {
      hold.release()
    }
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
   * The image's layers as folders, lowest first, owned as seen by a sandbox whose ids begin at `uidBase`. Each layer is
   * unpacked once; callers at the same time share the work. Never write to these folders.
   */
  unpack(image: ResolvedImage, options: { uidBase: number }, progress: Progress): Promise<string[]> {
    return this.#unpacker.unpack(image, options.uidBase, progress)
  }

  /** Writes an image to a file as an OCI archive. The file is whole or not there. */
  async export(reference: string, file: string, progress: Progress): Promise<void> {
    const image = await this.resolve(reference)
    const release = this.hold(image)
    try {
      await writeArchive(ociArchive(this.#layout, image, progress), file)
    } finally {
      release()
    }
  }

  /** An image as an OCI archive to be sent on, without a file in between. The image is held until the chunks end. */
  async openExport(reference: string, progress: Progress): Promise<ArchiveStream> {
    const image = await this.resolve(reference)
    const archive = ociArchive(this.#layout, image, progress)
    return { ...archive, chunks: heldUntilEnd(archive.chunks, () => this.hold(image)) }
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
      if (await this.#inUse(digest)) {
        throw new CoppiceError(
          'failed_precondition',
          'image_in_use',
          `The image "${reference}" is used by a sandbox.`,
          {
            facts: { image: reference, digest },
            hint: 'coppice ls',
          },
        )
      }
      // Somebody may be about to use it: without a name it stays until the collection finds that nobody does.
      return [...left, withName({ digest, ...target }, undefined)]
    })
    return this.collect()
  }

  /** Removes everything that no image needs. It happens by itself after a removal and after a name was given anew. */
  collect(): Promise<Collected> {
    return collectGarbage(this.#layout, this.#inUse)
  }

  async #read(
    source: string,
    options: ImportOptions,
    hold: Hold,
    progress: Progress,
  ): Promise<{ descriptor: Descriptor; name: string | undefined }> {
    const found = await recogniseSource(source)
    const limit = this.#maxUnpackedBytes
    switch (found.kind) {
      case 'oci-folder':
        return importOciFolder(this.#layout, found.path, found.ref, hold, progress)
      case 'oci-archive':
        return importOciArchive(this.#layout, found.path, found.compression, found.ref, limit, hold, progress)
      case 'rootfs': {
        const rootfs = { config: options.config ?? NO_CONFIG, maxUnpackedBytes: limit }
        const descriptor = await importRootfs(this.#layout, found.path, found.compression, rootfs, hold, progress)
        return { descriptor, name: undefined }
      }
    }
  }

  async #add(descriptor: Descriptor, name: string, source: string, progress: Progress): Promise<ImageInfo> {
    checkName(name)
    const annotations = { [SOURCE]: source, [IMPORTED_AT]: String(Date.now()) }
    const added = withName({ ...descriptor, annotations }, name)
    let replaced = false
    await this.#layout.index.change((manifests) => {
      const others = manifests.filter((other) => !sameName(nameOf(other), name) || other.digest !== added.digest)
      const next = others.map((other) => (sameName(nameOf(other), name) ? withName(other, undefined) : other))
      replaced = next.some((other) => nameOf(other) === undefined)
      return [...next, added]
    })
    if (replaced) {
      await this.collect().catch((error) =>
        progress.report(`Old images were not removed: ${CoppiceError.from(error).message}`),
      )
    }
    return imageInfo(await this.#layout.load(added), name)
  }
}

async function* heldUntilEnd<T>(chunks: AsyncIterable<T>, hold: () => () => void): AsyncGenerator<T> {
  const release = hold()
  try {
    yield* chunks
  } finally {
    release()
  }
}
