import { resolve as resolvePath } from 'node:path'
import {
  CoppiceError,
  type ImagePlace,
  type Progress,
  parseImagePlace,
  type RegistryReference,
} from '@coppice/protocol/wire'
import { bulkThread } from '../bulk/bulk-thread.ts'
import { rememberPush, uploadsOf } from '../registry/origins.ts'
import { checkPushDigest, type PushArgs, type RegistryPush } from '../registry/push-job.ts'
import { type RegistryOptions, registrySettings } from '../registry/settings.ts'
import type { Layout, ResolvedImage } from '../store/layout.ts'
import { StoreDesk } from '../store/store-desk.ts'
import { type ArchiveStream, writeArchive } from './archive-stream.ts'
import { type DockerArchiveOptions, dockerArchive } from './docker-archive.ts'
import { imageParts, indexEntry, ociArchive } from './oci-archive.ts'
import type { FolderArgs } from './oci-folder-job.ts'

/** How images leave a store, for everywhere. Whoever calls holds the image until what he has called or got has ended. */
export class Exports {
  readonly #layout: Layout
  readonly #registry: RegistryOptions

  constructor(layout: Layout, registry: RegistryOptions) {
    this.#layout = layout
    this.#registry = registry
  }

  /** See `ImageStore.export`. */
  async write(image: ResolvedImage, place: ImagePlace, progress: Progress): Promise<void> {
    switch (place.kind) {
      case 'file':
      case 'oci-archive': {
        const name = place.kind === 'file' ? image.name : (place.reference ?? image.name)
        return writeArchive(ociArchive(this.#layout, { ...image, name }, progress), place.path)
      }
      case 'docker-archive': {
        const options = place.reference === undefined ? {} : { name: place.reference }
        return writeArchive(await dockerArchive(this.#layout, image, options, progress), place.path)
      }
      case 'oci': {
        const blobs = imageParts(image).map((part) => ({ ...part, path: this.#layout.blobs.path(part.digest) }))
        const args: FolderArgs = {
          dir: resolvePath(place.path),
          entry: indexEntry(image, place.reference ?? image.name),
          blobs,
        }
        return bulkThread.run('folder', args, new StoreDesk(this.#layout, this.#layout.holds.open()), progress)
      }
      default:
        throw new CoppiceError('unsupported', 'target_kind', `The image store does not write to "${place.kind}".`, {
          facts: { kind: place.kind },
        })
    }
  }

  ociArchive(image: ResolvedImage, progress: Progress): ArchiveStream {
    return ociArchive(this.#layout, image, progress)
  }

  dockerArchive(image: ResolvedImage, options: DockerArchiveOptions, progress: Progress): Promise<ArchiveStream> {
    return dockerArchive(this.#layout, image, options, progress)
  }

  /** See `ImageStore.push`. */
  async push(
    image: ResolvedImage,
    to: RegistryReference,
    options: RegistryOptions,
    progress: Progress,
  ): Promise<RegistryPush> {
    checkPushDigest(to.digest, image.digest)
    const args: PushArgs = {
      settings: await registrySettings(to, { ...this.#registry, ...options }, progress.signal),
      blobs: await uploadsOf(this.#layout, image, to),
      manifest: {
        digest: image.digest,
        mediaType: image.descriptor.mediaType,
        text: (await this.#layout.blobs.readSmall(image.digest)).toString('utf8'),
      },
    }
    const desk = new StoreDesk(this.#layout, this.#layout.holds.open())
    const pushed = await bulkThread.run('push', args, desk, progress)
    await rememberPush(this.#layout, image.digest, to)
    return pushed
  }
}

/** A plain target is a file, whether it is there or not. */
export function parseTarget(text: string): ImagePlace {
  return parseImagePlace(text, { exists: (path) => path === text && !/^(oci|oci-archive|docker-archive):/.test(text) })
}
