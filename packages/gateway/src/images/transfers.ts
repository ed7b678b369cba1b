import { type ImageStore, type PushSource, pushInto, type ScratchFolder } from '@coppice/images'
import { CoppiceError, type ImageInfo, type ImagePlace, type Progress, parseImagePlace } from '@coppice/protocol'
import { containerTarget } from './container-target.ts'
import { isAboutContent, layersHeld } from './engine-layers.ts'
import { engineKind, engineOf, engineWith } from './engines.ts'

/** An image that came or went, and what was done for it. */
export interface Outcome {
  /** Null: it was none of this store's. */
  image: ImageInfo | null
  facts: Record<string, unknown>
}

type Place<Kind extends ImagePlace['kind']> = Extract<ImagePlace, { kind: Kind }>

/** Images between the store and what is outside of this gateway: registries, engines, containers. */
export class Transfers {
  readonly #store: ImageStore
  readonly #scratch: ScratchFolder

  constructor(store: ImageStore, scratch: ScratchFolder) {
    this.#store = store
    this.#scratch = scratch
  }

  /**
   * Brings an image in. @param source a registry reference, `docker-daemon:REF`, `podman:REF`
   * @throws `unsupported/pull_source` for other places, and what the store and the engine do
   */
  async pull(source: string, options: { name?: string; platform?: string }, progress: Progress): Promise<Outcome> {
    const place = parseImagePlace(source)
    const { transferred, ...image } =
      place.kind === 'registry'
        ? await this.#store.import(place, { name: source, ...options }, progress)
        : await this.#fromEngine(enginePlace(place, source), options, progress)
    return { image, facts: { ...transferred } }
  }

  /**
   * Sends an image out; only what is missing there.
   * @throws `unsupported/push_target` for places that are files, and what the store, the engine and the import do
   */
  async push(
    reference: string,
    target: string,
    importCommand: string | undefined,
    progress: Progress,
  ): Promise<Outcome> {
    const place = parseImagePlace(target)
    if (importCommand !== undefined && place.kind !== 'container') {
      throw new CoppiceError(
        'invalid_argument',
        'import_without_container',
        'A command for the import is for containers alone.',
        {
          hint: 'coppice image push REF container:NAME --import COMMAND',
        },
      )
    }
    switch (place.kind) {
      case 'registry':
        return { image: null, facts: { ...(await this.#store.push(reference, place.reference, {}, progress)) } }
      case 'docker-daemon':
      case 'podman':
        return this.#toEngine(reference, place, progress)
      case 'container':
        return this.#intoContainer(reference, place, importCommand, progress)
      default:
        throw new CoppiceError(
          'unsupported',
          'push_target',
          `${target} is a file of yours: images are exported there.`,
          {
            hint: `coppice image export ${reference} ${target}`,
          },
        )
    }
  }

  async #fromEngine(
    place: Place<'docker-daemon' | 'podman'>,
    options: { name?: string },
    progress: Progress,
  ): ReturnType<ImageStore['importStream']> {
    const engine = await engineOf(engineKind(place.kind), progress)
    const { Size } = await engine.images.mustInspect(place.reference, progress)
    const archive = engine.images.save([place.reference], progress)
    const source = `${place.kind}:${place.reference}`
    // The engine's size is of the layers unpacked, as the archive has them: near enough for a bar.
    const how = { name: options.name ?? place.reference, format: 'docker-archive', source, sizeBytes: Size } as const
    return this.#store.importStream(archive, how, progress)
  }

  async #toEngine(reference: string, place: Place<'docker-daemon' | 'podman'>, progress: Progress): Promise<Outcome> {
    const engine = await engineOf(engineKind(place.kind), progress)
    const { image, release } = await this.#store.acquire(reference)
    try {
      const held = new Set(image.diffIds.slice(0, await layersHeld(engine, image.diffIds, progress)))
      const load = async (lacking: (diffId: string) => boolean): Promise<number> => {
        const options = { name: place.reference, layersLacking: lacking }
        const archive = await this.#store.openDockerArchive(image.digest, options, progress)
        await engine.images.load(archive, progress)
        return archive.sizeBytes
      }
      const bytes = await load((diffId) => !held.has(diffId)).catch((error: unknown) => {
        // A layer may have gone since it was looked for: then all of them.
        if (held.size === 0 || !isAboutContent(error)) throw error
        return load(() => true)
      })
      return { image: null, facts: { bytes, layersHeld: held.size } }
    } finally {
      release()
    }
  }

  async #intoContainer(
    reference: string,
    place: Place<'container'>,
    importCommand: string | undefined,
    progress: Progress,
  ): Promise<Outcome> {
    const { engine, found } = await engineWith(place.name, progress)
    const source = await this.#pushSource(reference, progress)
    const options = {
      scratch: this.#scratch,
      ...(place.folder === undefined ? {} : { folder: place.folder }),
      ...(importCommand === undefined ? {} : { importCommand }),
    }
    const pushed = await pushInto(source, containerTarget(engine, found), options, progress)
    return { image: null, facts: { ...pushed } }
  }

  /** An image of the store, whose archive has a known size, or one of an engine, whose has not. */
  async #pushSource(reference: string, progress: Progress): Promise<PushSource> {
    if (/^(docker-daemon|podman):/.test(reference)) {
      const place = enginePlace(parseImagePlace(reference), reference)
      const engine = await engineOf(engineKind(place.kind), progress)
      const { Size } = await engine.images.mustInspect(place.reference, progress)
      return { name: place.reference, estimateBytes: Size, open: (own) => engine.images.save([place.reference], own) }
    }
    const { sizeBytes, chunks } = await this.#store.openDockerArchive(reference, {}, progress)
    return { name: reference, sizeBytes, open: () => chunks }
  }
}

function enginePlace(place: ImagePlace, text: string): Place<'docker-daemon' | 'podman'> {
  if (place.kind === 'docker-daemon' || place.kind === 'podman') return place
  throw new CoppiceError('unsupported', 'pull_source', `${text} is neither in a registry nor in an engine.`, {
    hint: `coppice image import ${text}`,
  })
}
