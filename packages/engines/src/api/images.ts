import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { RequestBody } from '../http/upload.ts'
import type { Calls } from './calls.ts'
import { ifMissing } from './containers.ts'
import type { ImageInspection, ImageSummary } from './types.ts'

export interface BuildOptions {
  /** Name of the result. */
  tag: string
  /** Path of the Dockerfile in the context. */
  dockerfile?: string
  buildArgs?: Record<string, string>
  target?: string
  noCache?: boolean
  labels?: Record<string, string>
  /** Of the steps that run something: `none`, `host`, a network's name. The engine's own choice when absent. */
  network?: string
}

/** Images of an engine. `reference` is a name or an id. */
export class Images {
  readonly #calls: Calls

  constructor(calls: Calls) {
    this.#calls = calls
  }

  /**
   * Images that have a name or are used, and, with `labels`, have all of these.
   * @param all those in between as well, that a build has left
   */
  list(labels: string[], progress: Progress, all = false): Promise<ImageSummary[]> {
    const query = {
      filters: labels.length === 0 ? undefined : JSON.stringify({ label: labels }),
      all: all ? 'true' : undefined,
    }
    return this.#calls.json({ method: 'GET', path: '/images/json', query }, progress)
  }

  /** Undefined when there is none. */
  async inspect(reference: string, progress: Progress): Promise<ImageInspection | undefined> {
    try {
      return await this.#calls.json<ImageInspection>({ method: 'GET', path: `${at(reference)}/json` }, progress)
    } catch (error) {
      return ifMissing(error, undefined)
    }
  }

  /**
   * Takes an archive in, as it comes. Layers that the engine has may be left out in the ways that its dialect names. Throws
   * `failed_precondition/engine_failed` with the engine's words when it does not like the archive.
   */
  async load(archive: RequestBody, progress: Progress): Promise<void> {
    const request = {
      method: 'POST',
      path: '/images/load',
      query: { quiet: 'true' },
      body: archive,
      timeoutMs: 0,
    } as const
    for await (const _line of this.#calls.lines(request, progress)) {
      // Its last line names the image; the caller named it.
    }
  }

  /** Images as one `docker save` archive, made while it is read. */
  save(references: string[], progress: Progress): AsyncGenerator<Buffer> {
    // One parameter for each name: Docker reads no list in one.
    const query = references.map((name) => `names=${encodeURIComponent(name)}`).join('&')
    return this.#calls.bytes({ method: 'GET', path: `/images/get?${query}`, timeoutMs: 0 }, progress)
  }

  /**
   * Removes a name, and the image with its last name. A success when there is none; `conflict` when a container uses it.
   * @param keepParents leave the images that it was built on, which are the builder's cache
   */
  async remove(reference: string, progress: Progress, keepParents = false): Promise<void> {
    const query = { noprune: keepParents ? 'true' : undefined }
    await this.#calls.status({ method: 'DELETE', path: at(reference), query, accept: [404] }, progress)
  }

  /**
   * Builds from a context that is sent as it is made. Yields what the builder says, line by line; ending the loop or the progress
   * ends the build. Throws `failed_precondition/engine_failed` with the builder's words when a step fails.
   */
  async *build(context: RequestBody, options: BuildOptions, progress: Progress): AsyncGenerator<string> {
    const query = {
      t: options.tag,
      dockerfile: options.dockerfile,
      buildargs: options.buildArgs && JSON.stringify(options.buildArgs),
      labels: options.labels && JSON.stringify(options.labels),
      target: options.target,
      networkmode: options.network,
      nocache: options.noCache ? 'true' : undefined,
      rm: 'true',
      forcerm: 'true',
    }
    const request = { method: 'POST', path: '/build', query, body: context, timeoutMs: 0 } as const
    for await (const line of this.#calls.lines(request, progress)) {
      const said = line.stream ?? line.status
      if (typeof said === 'string') yield said
    }
  }

  /** Throws `not_found/engine_image_not_found`. */
  async mustInspect(reference: string, progress: Progress): Promise<ImageInspection> {
    const image = await this.inspect(reference, progress)
    if (image) return image
    const { title, kind } = this.#calls.transport.dialect
    throw new CoppiceError('not_found', 'engine_image_not_found', `${title} has no image ${reference}.`, {
      facts: { reference, engine: kind },
      hint: `${kind} images`,
    })
  }
}

function at(reference: string): string {
  return `/images/${encodeURIComponent(reference)}`
}
