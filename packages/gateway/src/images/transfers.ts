import { HeldLayers, isAboutArchive } from '@coppice/engines'
import { type ImageStore, type PushSource, pushInto, type ScratchFolder, type StagedFiles } from '@coppice/images'
import { CoppiceError, type ImageInfo, type ImagePlace, Progress, parseImagePlace } from '@coppice/protocol'
import { containerTarget } from './container-target.ts'
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
  readonly #staged: StagedFiles
  readonly #held = new HeldLayers()

  constructor(store: ImageStore, scratch: ScratchFolder, staged: StagedFiles) {
    this.#store = store
    this.#scratch = scratch
    this.#staged = staged
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
    options: { name?: string; platform?: string },
    progress: Progress,
  ): ReturnType<ImageStore['importStream']> {
    const engine = await engineOf(engineKind(place.kind), progress)
    const { Size } = await engine.images.mustInspect(place.reference, progress)
    const archive = engine.images.save([place.reference], progress)
    const source = `${place.kind}:${place.reference}`
    // The engine's size is of the layers unpacked, as the archive has them: near enough for a bar.
    const how = {
      ...options,
      name: options.name ?? place.reference,
      format: 'docker-archive',
      source,
      estimateBytes: Size,
    } as const
    return this.#store.importStream(archive, how, progress)
  }

  async #toEngine(reference: string, place: Place<'docker-daemon' | 'podman'>, progress: Progress): Promise<Outcome> {
    const engine = await engineOf(engineKind(place.kind), progress)
    const { image, release } = await this.#store.acquire(reference)
    try {
      const places = await this.#held.find(engine, image.diffIds, 'docker-archive', progress)
      // A layer that is in the image twice is sent unless it is held at both places.
      const sent = new Set(image.diffIds.filter((_, at) => !places.has(at)))
      const load = async (lacking: (diffId: string) => boolean): Promise<number> => {
        const options = { name: place.reference, layersLacking: lacking, reuseChunks: true }
        const archive = await this.#store.openDockerArchive(image.digest, options, progress)
        await engine.images.load(archive, progress).finally(archive.release)
        return archive.sizeBytes
      }
      const bytes = await load((diffId) => sent.has(diffId)).catch((error: unknown) => {
        // A layer may have gone since it was looked for: then all of them.
        if (places.size === 0 || !isAboutArchive(error)) throw error
        return load(() => true)
      })
      return { image: null, facts: { digest: image.digest, bytes, layersHeld: places.size } }
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
    const { release, ...source } = await this.#pushSource(reference, progress)
    const options = {
      scratch: this.#scratch,
      staged: this.#staged,
      ...(place.folder === undefined ? {} : { folder: place.folder }),
      ...(importCommand === undefined ? {} : { importCommand }),
    }
    const pushed = await pushInto(source, containerTarget(engine, found), options, progress).finally(release)
    return { image: null, facts: { ...pushed } }
  }

  /** An image of the store, whose archive has a known size, or one of an engine, whose has not. */
  async #pushSource(reference: string, progress: Progress): Promise<PushSource & { release: () => void }> {
    if (/^(docker-daemon|podman):/.test(reference)) {
      const place = enginePlace(parseImagePlace(reference), reference)
      const engine = await engineOf(engineKind(place.kind), progress)
      const { Size } = await engine.images.mustInspect(place.reference, progress)
      const open = (own: Progress) => engine.images.save([place.reference], own)
      const alive = (own: Progress) =>
        engine.ping(own).then(
          () => true,
          () => false,
        )
      return { name: place.reference, estimateBytes: Size, open, alive, release: () => {} }
    }
    // What is sent is told once, by who sends it.
    const silent = new Progress({ signal: progress.signal })
    const { sizeBytes, chunks, release } = await this.#store.openDockerArchive(reference, { reuseChunks: true }, silent)
    return { name: reference, sizeBytes, open: () => chunks, release }
  }
}

function enginePlace(place: ImagePlace, text: string): Place<'docker-daemon' | 'podman'> {
  if (place.kind === 'docker-daemon' || place.kind === 'podman') return place
  throw new CoppiceError('unsupported', 'pull_source', `${text} is neither in a registry nor in an engine.`, {
    hint: `coppice image import ${text}`,
  })
}
