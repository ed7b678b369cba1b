import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { RequestBody } from '../http/upload.ts'
import type { Calls } from './calls.ts'
import { ifMissing } from './containers.ts'
import { ping } from './ping.ts'
import { isNumber, isObject, isText, listOf, maybe, withMembers } from './shapes.ts'
import type { ImageInspection, ImageSummary } from './types.ts'
import { watchedExport } from './watched-export.ts'
import { wholeArchive } from './whole-archive.ts'

const SUMMARY = withMembers({ Id: isText, RepoTags: maybe(listOf(isText)) })
const INSPECTION = withMembers({ Id: isText, Size: isNumber, RootFS: maybe(isObject) })

/** Times that is asked for what the removal of an image has spoilt, and milliseconds between two: a removal takes a few. */
const TRIES = 10
const AGAIN_MS = 20

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
    const request = { method: 'GET', path: '/images/json', query } as const
    return unspoilt(progress, () => this.#calls.json(request, progress, listOf(SUMMARY)))
  }

  /** Undefined when there is none. */
  async inspect(reference: string, progress: Progress): Promise<ImageInspection | undefined> {
    try {
      const request = { method: 'GET', path: `${at(reference)}/json` } as const
      return await unspoilt(progress, () => this.#calls.json<ImageInspection>(request, progress, INSPECTION))
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
   * next. Nothing comes as long as the engine prepares it, which it does on its own disk. Throws `deadline_exceeded/transfer_stalled`.
   */
  save(references: string[], progress: Progress): AsyncGenerator<Buffer> {
    // One parameter for each name: Docker reads no list in one.
    const query = references.map((name) => `names=${encodeURIComponent(name)}`).join('&')
    const { transport } = this.#calls
    const exporter = {
      dialect: transport.dialect,
      ping: (own: Progress) => ping(transport, own),
      size: async (own: Progress) => {
        const images = await Promise.all(references.map((name) => this.inspect(name, own)))
        return images.reduce((sum, image) => sum + (image?.Size ?? 0), 0)
      },
    }
    const open = (own: Progress) => this.#calls.download(`/images/get?${query}`, own)
    return wholeArchive(watchedExport(open, exporter, progress), 'GET /images/get', transport.dialect)
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

/**
 * Asks again where an image was removed while the engine looked at it: Podman fails a whole list for one of them then, and both fail
 * an inspection with the words of their storage.
 */
async function unspoilt<T>(progress: Progress, ask: () => Promise<T>): Promise<T> {
  for (let left = TRIES - 1; ; left--) {
    try {
      return await ask()
    } catch (error) {
      const { code, message } = CoppiceError.from(error)
      const gone = /\b(image|layer) (not known|does not exist)\b/.test(message)
      if (left === 0 || !gone || code === 'not_found') throw error
    }
    await sleep(AGAIN_MS, undefined, { signal: progress.signal }).catch(() => {})
    progress.throwIfEnded()
  }
}

function at(reference: string): string {
  return `/images/${encodeURIComponent(reference)}`
}
