import { existsSync } from 'node:fs'
import {
  type ArchivePrint,
  CoppiceError,
  familiarName,
  formatImagePlace,
  formatRegistryReference,
  type ImageConfig,
  type ImageInfo,
  type ImagePlace,
  type Progress,
  parseImagePlace,
  REMEMBERED_ARCHIVE_BYTES,
  type RegistryReference,
} from '@coppice/protocol/wire'
import { bulkThread } from '../bulk/bulk-thread.ts'
import { imageInfo, nameFromFile } from '../image-info.ts'
import type { PullArgs } from '../registry/pull-job.ts'
import { pullSettings, type RegistryOptions } from '../registry/settings.ts'
import { addName } from '../store/add-name.ts'
import type { Hold } from '../store/holds.ts'
import { withName } from '../store/index-file.ts'
import type { Transferred } from '../store/intake.ts'
import { archivesAnnotation, knownArchives } from '../store/known-archives.ts'
import type { Layout } from '../store/layout.ts'
import { checkName, isName } from '../store/references.ts'
import { type Descriptor, IMPORTED_AT, PLACES, SOURCE } from '../store/schemas.ts'
import { StoreDesk } from '../store/store-desk.ts'
import { hostPlatform, type Platform, parsePlatform } from './choose-image.ts'
import { placeIn } from './docker-archive.ts'
import type { ArchiveFormat, ImportArgs, ImportOutcome } from './import-job.ts'
import { knownImage } from './reuse.ts'

const NO_CONFIG: ImageConfig = { env: {}, cwd: '/', user: '', entrypoint: [], cmd: [], labels: {} }

export interface ImportOptions {
  /** Default: the name in the archive or layout, else one made from the file's name. */
  name?: string
  /** What it is called when neither `name` nor what is imported says so. */
  fallbackName?: string
  /** Which variant of a multi-platform image: `linux/arm64`, `linux/arm/v7`. Default: this machine's. */
  platform?: string
  /** What the image says about its programs; for root file system archives, which do not say it themselves. */
  config?: ImageConfig
  /** Shown as the image's source. Default: what was imported. */
  source?: string
  /** For images from a registry. */
  registry?: RegistryOptions
}

export interface ImportStreamOptions extends ImportOptions {
  /** How the sender says what he sends. Default `auto`: recognised by its content. */
  format?: ArchiveFormat
  /** Which image, where the archive holds several: a name in it, or `@N` for the N-th of a docker archive. */
  ref?: string
  /** Bytes that will come, when that is known: without room for them nothing is begun. */
  sizeBytes?: number
  /** The same when it is only known about: for the progress. */
  estimateBytes?: number
  /** Remembers the image as that of an archive of these bytes, see `ImageStore.known`: needs `sizeBytes`, not too few. */
  remember?: boolean
}

/** An image that was brought in, and what had to be moved for it. */
export interface ImportedImage extends ImageInfo {
  transferred: Transferred
}

type Brought = ImportOutcome & { place?: string }

export interface ImportsOptions {
  maxUnpackedBytes: number
  registry: RegistryOptions
  /** Called when an image has lost its name to another one. */
  collect: () => Promise<unknown>
}

/** How images come into a store, from everywhere. The work itself is done in the bulk thread. */
export class Imports {
  readonly #layout: Layout
  readonly #options: ImportsOptions

  constructor(layout: Layout, options: ImportsOptions) {
    this.#layout = layout
    this.#options = options
  }

  /** See `ImageStore.import`. */
  async import(source: string | ImagePlace, options: ImportOptions, progress: Progress): Promise<ImportedImage> {
    const place = typeof source === 'string' ? parseImagePlace(source, { exists: existsSync }) : source
    const text = typeof source === 'string' ? source : formatImagePlace(place)
    return this.#bringIn(options, options.source ?? text, progress, async (hold) => {
      switch (place.kind) {
        case 'registry':
          return this.#pull(place.reference, options, hold, progress)
        case 'oci':
          return this.#run({ kind: 'oci', path: place.path }, place.reference, options, hold, progress)
        case 'oci-archive':
        case 'docker-archive': {
          const from = { kind: 'file' as const, path: place.path, format: place.kind }
          return this.#run(from, place.reference, options, hold, progress)
        }
        case 'file': {
          const from = { kind: 'file' as const, path: place.path, format: 'auto' as const }
          const found = await this.#run(from, undefined, options, hold, progress)
          return { ...found, name: found.name ?? nameFromFile(place.path) }
        }
        default:
          throw unsupportedSource(place.kind, text)
      }
    })
  }

  /** See `ImageStore.importStream`. */
  async importStream(
    chunks: AsyncIterable<Uint8Array>,
    options: ImportStreamOptions,
    progress: Progress,
  ): Promise<ImportedImage> {
    const { format = 'auto', sizeBytes, estimateBytes, ref, remember = false } = options
    const hash = remember && (sizeBytes ?? 0) >= REMEMBERED_ARCHIVE_BYTES
    const from = { kind: 'stream' as const, format, sizeBytes, estimateBytes, hash }
    try {
      return await this.#bringIn(options, options.source ?? 'stream', progress, (hold) =>
        this.#run(from, ref, options, hold, progress, chunks),
      )
    } catch (error) {
      // Whole blobs stay for a sender that was cut off and comes again. Nobody comes again with what was refused.
      if (CoppiceError.from(error).code !== 'cancelled') await this.#options.collect().catch(() => undefined)
      throw error
    }
  }

  /** See `ImageStore.known`. */
  async known(print: ArchivePrint, options: ImportStreamOptions, progress: Progress): Promise<ImageInfo | undefined> {
    if (options.name !== undefined) checkName(options.name)
    const hold = this.#layout.holds.open()
    try {
      const found = await knownImage(this.#layout, print, choiceOf(options), hold)
      if (!found) return undefined
      const { image, archive } = found
      requireName(options, options.ref, archive.named)
      const annotations = {
        ...image.descriptor.annotations,
        ...archivesAnnotation([...knownArchives(image.descriptor), archive]),
        [SOURCE]: options.source ?? 'stream',
        [IMPORTED_AT]: String(Date.now()),
      }
      const name = options.name ?? archive.named ?? options.fallbackName ?? 'image'
      return await this.#add({ ...image.descriptor, annotations }, name, progress)
    } finally {
      hold.release()
    }
  }

  async #bringIn(
    options: ImportOptions,
    source: string,
    progress: Progress,
    bring: (hold: Hold) => Promise<Brought>,
  ): Promise<ImportedImage> {
    if (options.name !== undefined) checkName(options.name)
    const hold = this.#layout.holds.open()
    try {
      const found = await bring(hold)
      const name = options.name ?? found.name ?? options.fallbackName ?? 'image'
      const places = found.place === undefined ? {} : { [PLACES]: found.place }
      // What an archive calls its image may be as long as it likes, and then is no name.
      const known = found.name === undefined || isName(found.name) ? found.archive : undefined
      const archives = known ? [{ ...known, choice: choiceOf(options), named: found.name }] : []
      const annotations = {
        ...places,
        ...archivesAnnotation(archives),
        [SOURCE]: source,
        [IMPORTED_AT]: String(Date.now()),
      }
      const info = await this.#add({ ...found.descriptor, annotations }, name, progress)
      return { ...info, transferred: found.transferred }
    } finally {
      hold.release()
    }
  }

  async #pull(reference: RegistryReference, options: ImportOptions, hold: Hold, progress: Progress): Promise<Brought> {
    const args: PullArgs = {
      folders: this.#layout.folders,
      settings: await pullSettings(reference, { ...this.#options.registry, ...options.registry }, progress),
      platform: platformOf(options),
      strict: options.platform !== undefined,
    }
    const found = await bulkThread.run('pull', args, new StoreDesk(this.#layout, hold), progress)
    return { ...found, name: familiarName(reference), place: formatRegistryReference(reference) }
  }

  async #run(
    from: ImportArgs['from'],
    ref: string | undefined,
    options: ImportOptions,
    hold: Hold,
    progress: Progress,
    input?: AsyncIterable<Uint8Array>,
  ): Promise<ImportOutcome> {
    const args: ImportArgs = {
      folders: this.#layout.folders,
      from,
      ref,
      platform: platformOf(options),
      strict: options.platform !== undefined,
      config: options.config ?? NO_CONFIG,
      maxUnpackedBytes: this.#options.maxUnpackedBytes,
    }
    const found = await bulkThread.run('import', args, new StoreDesk(this.#layout, hold), progress, input)
    requireName(options, ref, found.name)
    return found
  }

  async #add(descriptor: Descriptor, name: string, progress: Progress): Promise<ImageInfo> {
    checkName(name)
    const added = withName(descriptor, name)
    // What cannot be read must not be listed.
    const image = await this.#layout.load(added)
    let replaced = false
    await this.#layout.index.change((manifests) => {
      const next = addName(manifests, added)
      replaced = next.replaced
      return next.manifests
    })
    if (replaced) {
      await this.#options
        .collect()
        .catch((error) => progress.report(`Old images were not removed: ${CoppiceError.from(error).message}`))
    }
    return imageInfo(image, name)
  }
}

/** What decides, beside its bytes, which image comes out of an archive. */
function choiceOf(options: ImportStreamOptions): string {
  const { format = 'auto', ref = '', platform, config = {} } = options
  // An image of another platform is an answer only where none was asked for.
  return JSON.stringify([format, ref, platformOf(options), platform !== undefined, config])
}

/**
 * Of images that are told apart by their place alone each has to have its own name: not that of the file, which the next one would take
 * away. Throws `invalid_argument/image_without_name`.
 */
function requireName({ name }: ImportOptions, ref: string | undefined, named: string | undefined): void {
  if (name !== undefined || named !== undefined || placeIn(ref) === undefined) return
  throw new CoppiceError('invalid_argument', 'image_without_name', `The image ${ref} has no name in the archive.`, {
    hint: `coppice image import docker-archive:FILE:${ref} --name NAME`,
  })
}

function platformOf({ platform }: ImportOptions): Platform {
  return platform === undefined ? hostPlatform() : parsePlatform(platform)
}

function unsupportedSource(kind: ImagePlace['kind'], text: string): CoppiceError {
  return new CoppiceError('unsupported', 'source_kind', `The image store itself does not read images from "${kind}".`, {
    facts: { kind },
    hint: `skopeo copy ${text} oci-archive:image.tar && coppice image import image.tar`,
  })
}
