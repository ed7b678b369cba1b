import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { RequestBody } from '../http/upload.ts'
import type { Calls } from './calls.ts'
import { ifMissing } from './containers.ts'
import { isNumber, isObject, isText, listOf, maybe, withMembers } from './shapes.ts'
import type { ImageInspection, ImageSummary } from './types.ts'
import { wholeArchive } from './whole-archive.ts'

const SUMMARY = withMembers({ Id: isText, RepoTags: maybe(listOf(isText)) })
const INSPECTION = withMembers({ Id: isText, Size: isNumber, RootFS: maybe(isObject) })

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
    return this.#calls.json({ method: 'GET', path: '/images/json', query }, progress, listOf(SUMMARY))
  }

  /** Undefined when there is none. */
  async inspect(reference: string, progress: Progress): Promise<ImageInspection | undefined> {
    try {
      const request = { method: 'GET', path: `${at(reference)}/json` } as const
      return await this.#calls.json<ImageInspection>(request, progress, INSPECTION)
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

  /**
   * Images as one `docker save` archive, made while it is read: whole, or an error. A chunk is the caller's until it asks for the
   * next. Nothing comes as long as the engine prepares it, which it does on its own disk.
   */
  save(references: string[], progress: Progress): AsyncGenerator<Buffer> {
    // One parameter for each name: Docker reads no list in one.
    const query = references.map((name) => `names=${encodeURIComponent(name)}`).join('&')
    const chunks = this.#calls.download(`/images/get?${query}`, progress)
    return wholeArchive(chunks, 'GET /images/get', this.#calls.transport.dialect)
  }

  /**
   * Removes a name, and the image with its last name. A success when there is none; `conflict` when a container uses it.
   * @param keepParents leave the images that it was built on, which are the builder's cache
   */
  async remove(reference: string, progress: Progress, keepParents = false): Promise<void> {
    const query = { noprune: keepParents ? 'true' : undefined }
    await this.#calls.status({ method: 'DELETE', path: at(reference), query, accept: [404] }, progress)
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
