import type { Readable } from 'node:stream'
import type { ImageInfo } from '@coppice/protocol/wire'
import { bodyStream } from './body-stream.ts'
import { type ByteSource, exactly, knownLength, pieces } from './byte-source.ts'
import type { GatewayConnection, GatewayRequest } from './connection.ts'
import type { BuildOptions, BuiltImage } from './context/build.ts'
import { exchange } from './exchange.ts'
import type { ArchivePlace } from './from/recognise.ts'
import { type BroughtImage, broughtImage, type ImageFacts, type ImageWork, imageOutcome } from './image-events.ts'
import { query } from './paths.ts'

export interface PullOptions extends ImageWork {
  /** What the image is called from now on. Default: the reference as it was given. */
  name?: string | undefined
  /** `linux/arm64`. Default: the gateway's own. */
  platform?: string | undefined
}

export interface PushOptions extends ImageWork {
  /** For a container: the command line run in it that takes the archive in, `{file}` its path. Without it the file is the result. */
  importCommand?: string | undefined
}

export interface ImportOptions extends ImageWork {
  /** What the image is called from now on. Default: the name in the archive. */
  name?: string | undefined
  /** What it is called when neither `name` nor the archive says it. */
  fallbackName?: string | undefined
  /** Default `auto`: told by the content. */
  format?: 'auto' | 'oci-archive' | 'docker-archive' | 'rootfs' | undefined
  /** Which image, where the archive holds several: a name in it, or `@N` for the N-th of a docker archive. */
  ref?: string | undefined
  /** Which variant of an image of several platforms. Default: the gateway's own. */
  platform?: string | undefined
  /** Bytes of a streamed source, when known. */
  size?: number | undefined
  /** Of `importPath`: told once, before anything is sent, whether the gateway has imported the same bytes before. */
  onKnown?: ((known: boolean) => void) | undefined
}

export interface ExportOptions extends ImageWork {
  /** Default `oci-archive`. */
  format?: 'oci-archive' | 'docker-archive' | undefined
  /** What the archive calls the image. Default: its name in the store. */
  name?: string | undefined
}

/** What an export has written. */
export interface Exported {
  /** As it was given. */
  path: string
  /** Of the archive, or of what became the layout. */
  bytes: number
}

/** What a clean-up of the store took away. */
export interface Pruned {
  images: number
  blobs: number
  layers: number
  /** Beginnings of transfers that were never finished. */
  partials: number
  /** Images without a name that stay because an entry of the registry, which may need them, cannot be read. */
  kept: number
  bytes: number
}

/** The images in a gateway's store. */
export class Images {
  readonly #connection: GatewayConnection

  /** Use `coppice.images`. */
  constructor(connection: GatewayConnection) {
    this.#connection = connection
  }

  async list(): Promise<ImageInfo[]> {
    const { images } = await this.#connection.json<{ images: ImageInfo[] }>({ method: 'GET', path: '/v1/images' }, true)
    return images
  }

  /**
   * Brings an image in from a registry, or from an engine of the gateway's machine (`docker-daemon:REF`, `podman:REF`); only what
   * is missing is moved. What a pull that was cut off has brought counts for the next one.
   */
  async pull(source: string, options: PullOptions = {}): Promise<BroughtImage> {
    const { platform } = options
    const name = options.name ?? /^docker:\/\/(.+)$/.exec(source)?.[1]
    return broughtImage(await this.#start('pull', { source, name, platform }, options, true), options)
  }

  /**
   * Sends an image to a registry, an engine (`docker-daemon:REF`, `podman:REF`) or into a container (`container:NAME[:/DIR]`).
   * Returns what was done.
   */
  async push(ref: string, target: string, options: PushOptions = {}): Promise<ImageFacts> {
    const { importCommand } = options
    const response = await this.#start('push', { ref, target, importCommand }, options, false)
    return (await imageOutcome(response, options)).facts
  }

  /**
   * Builds an image from a folder with a Dockerfile, by the builder of an engine of the gateway's machine. Without a `name` the
   * image is called by the hash of its context and options, and one that is there is not built again.
   *
   * @throws `failed_precondition/build_failed` with facts `{step, status, lastLines}`
   */
  async build(folder: string, options: BuildOptions = {}): Promise<BuiltImage> {
    // Loaded when needed: most programs never build, and their start should not pay for it.
    const { buildFolder } = await import('./context/build.ts')
    return buildFolder(this.#connection, this, folder, options)
  }

  /** Imports an archive from a stream. Not resumable: after a failure the store is as before. */
  async import(source: ByteSource, options: ImportOptions = {}): Promise<BroughtImage> {
    const { name, fallbackName, format, ref, platform, signal } = options
    const size = options.size ?? knownLength(source)
    const request = {
      method: 'POST' as const,
      path: `/v1/images/import${query({ name, fallbackName, format, ref, platform })}`,
      headers: size === undefined ? {} : { 'content-length': size },
      signal,
    }
    const body = size === undefined ? pieces(source) : exactly(size, pieces(source))
    return exchange(this.#connection, request, body, (response) => broughtImage(response, options))
  }

  /**
   * Imports a local archive, or the folder of an OCI layout. Without a name in either it is called like the file. A file of which the
   * gateway has imported every byte before is not sent again: `facts.known` is true then.
   */
  async importPath(place: string | ArchivePlace, options: ImportOptions = {}): Promise<BroughtImage> {
    const { importPath } = await import('./from/local-archive.ts')
    return importPath(this.#connection, this, place, options)
  }

  /** An image as archive. A cut connection is an error of the stream. */
  async export(ref: string, options: ExportOptions = {}): Promise<Readable> {
    const { format, name, signal, onProgress } = options
    const path = `/v1/images/export${query({ ref, format, name })}`
    const response = await this.#connection.send({ method: 'GET', path, answerMs: 0, signal })
    return bodyStream(response, onProgress && { message: `Exporting ${ref}`, onProgress }, signal)
  }

  /**
   * Writes an image to a local file or, with `oci`, into the folder of an OCI layout: whole or not at all. Other images of a layout
   * that is there stay. Whatever a file's ending says, it is not packed as a whole.
   *
   * @throws `conflict/target_exists` for a folder that holds something else, `invalid_argument/target_is_folder` for an archive
   */
  async exportPath(ref: string, place: ArchivePlace, options: Omit<ExportOptions, 'format'> = {}): Promise<Exported> {
    const { writeImage } = await import('./export/write-image.ts')
    return writeImage(this, ref, place, options)
  }

  /** Makes the image `base`, which takes a minute; at once when it is there, unless `force`. */
  async bootstrap(options: { force?: boolean } & ImageWork = {}): Promise<ImageInfo> {
    const { force = false } = options
    const { facts: _, ...image } = await broughtImage(
      await this.#start('bootstrap', { force }, options, false),
      options,
    )
    return image
  }

  /** Removes what no name and no sandbox needs. */
  prune(options: { signal?: AbortSignal | undefined } = {}): Promise<Pruned> {
    const { signal } = options
    return this.#connection.json({ method: 'POST', path: '/v1/images/prune', answerMs: 0, signal }, true)
  }

  /** Removes an image and what only it used. */
  async remove(ref: string): Promise<void> {
    await this.#connection.json({ method: 'DELETE', path: `/v1/images${query({ ref })}` }, false)
  }

  #start(what: string, json: unknown, { signal }: ImageWork, repeatable: boolean) {
    const request: GatewayRequest = { method: 'POST', path: `/v1/images/${what}`, json, answerMs: 0, signal }
    return this.#connection.retrying(signal, repeatable, () => this.#connection.send(request))
  }
}
