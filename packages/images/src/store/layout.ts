import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Reserve } from '@coppice/limits'
import { CoppiceError, type ImageConfig } from '@coppice/protocol/wire'
import { withStoreFaults } from '../faults.ts'
import { BlobStore } from './blobs.ts'
import { Claims } from './claims.ts'
import { Holds } from './holds.ts'
import { IndexFile, nameOf } from './index-file.ts'
import type { StoreFolders } from './intake.ts'
import { Partials } from './partials.ts'
import { matchReference } from './references.ts'
import {
  type ConfigBlob,
  type Descriptor,
  isManifest,
  type Manifest,
  parseConfig,
  parseManifest,
  toImageConfig,
} from './schemas.ts'
import { Scratch } from './scratch.ts'

/** An image of the store, read and checked. */
export interface ResolvedImage {
  /** Undefined when the image has lost its name and is still in use. */
  name: string | undefined
  /** `sha256:` of the manifest. */
  digest: string
  descriptor: Descriptor
  manifest: Manifest
  configBlob: ConfigBlob
  /** What the image says about its programs. */
  config: ImageConfig
  /** Digests of the unpacked layers, lowest first; as many as `manifest.layers`. */
  diffIds: string[]
}

/** The parts of a store's folder: an OCI image layout, and beside it `unpacked/` and `tmp/`. */
export class Layout {
  readonly dir: string
  readonly blobs: BlobStore
  readonly index: IndexFile
  readonly scratch: Scratch
  /** Downloads that were cut off. */
  readonly partials: Partials
  /** Who is making which blob. */
  readonly claims = new Claims()
  /** Blobs and layers that somebody is working on: garbage collection leaves them alone. */
  readonly holds = new Holds()
  readonly reserve: Reserve

  private constructor(
    dir: string,
    blobs: BlobStore,
    index: IndexFile,
    scratch: Scratch,
    partials: Partials,
    reserve: Reserve,
  ) {
    this.dir = dir
    this.reserve = reserve
    this.blobs = blobs
    this.index = index
    this.scratch = scratch
    this.partials = partials
  }

  static open(folder: string): Promise<Layout> {
    const dir = resolve(folder)
    return withStoreFaults(dir, async () => {
      await mkdir(dir, { recursive: true, mode: 0o700 })
      const scratch = await Scratch.open(join(dir, 'tmp'))
      const partials = await Partials.open(join(dir, 'partial'))
      const blobs = await BlobStore.open(dir)
      const reserve = new Reserve(dir)
      await reserve.fill()
      return new Layout(dir, blobs, await IndexFile.open(dir, reserve), scratch, partials, reserve)
    })
  }

  /** Throws `not_found/image_not_found`, `conflict/ambiguous_image`, `internal/blob_corrupt`. */
  async resolve(reference: string): Promise<ResolvedImage> {
    return this.load(matchReference(await this.index.read(), reference))
  }

  async load(descriptor: Descriptor): Promise<ResolvedImage> {
    if (!isManifest(descriptor)) {
      throw new CoppiceError(
        'unsupported',
        'not_an_image',
        `${descriptor.digest} is ${descriptor.mediaType}, which is no image.`,
      )
    }
    const manifest = parseManifest(await this.blobs.readSmall(descriptor.digest), `The manifest ${descriptor.digest}`)
    const configDigest = manifest.config.digest
    const configBlob = parseConfig(await this.blobs.readSmall(configDigest), `The image config ${configDigest}`)
    const diffIds = configBlob.rootfs.diff_ids
    if (diffIds.length !== manifest.layers.length) {
      throw new CoppiceError(
        'invalid_argument',
        'malformed_image',
        `${descriptor.digest} names layers that its config does not.`,
        {
          facts: { layers: manifest.layers.length, diffIds: diffIds.length },
        },
      )
    }
    const name = nameOf(descriptor)
    return {
      name,
      digest: descriptor.digest,
      descriptor,
      manifest,
      configBlob,
      config: toImageConfig(configBlob),
      diffIds,
    }
  }

  /** The places of its parts, for work in another thread. */
  get folders(): StoreFolders {
    return { dir: this.dir, scratch: this.scratch.dir, partials: this.partials.dir }
  }

  /** Where a layer is unpacked for one range of user ids. */
  unpackedPath(uidBase: number, diffIdHex: string): string {
    return join(this.dir, 'unpacked', String(uidBase), diffIdHex)
  }
}
