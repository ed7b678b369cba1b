import type { Engine, ImageInspection } from '@coppice/engines'
import { SharedWork } from '@coppice/images'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { DriverImage } from '../driver.ts'
import { type BareImage, bareImage, imageArchive } from './image-archive.ts'
import type { Names } from './names.ts'

/** Images of an engine that are looked at for layers that it has. */
const MAX_LOOKED_AT = 500

/** Images, as the engine of a driver has them: made from our layers when they are needed, only what is missing sent. */
export class EngineImages {
  readonly #names: Names
  readonly #loads = new SharedWork<void>()
  /** Layers of an engine's images by image id: they never change. */
  readonly #layers = new Map<string, string[]>()

  constructor(names: Names) {
    this.#names = names
  }

  /** Sees that the engine has the image. Returns its id there. Throws `failed_precondition/no_blobs` when it came without. */
  async ensure(engine: Engine, image: DriverImage, progress: Progress): Promise<string> {
    if (!image.blobs) {
      throw new CoppiceError('internal', 'no_blobs', `The image ${image.digest} came without its layers' blobs.`)
    }
    const [label, value] = this.#names.imageLabel
    const bare = bareImage(image.blobs, { [label]: value }, (id) => this.#names.image(id))
    if (!(await engine.images.inspect(bare.id, progress))) {
      await this.#loads.run(`${engine.socket} ${bare.id}`, (own) => this.#load(engine, bare, own), progress)
    }
    return bare.id
  }

  /** Removes images of ours that no container uses and that `keep` does not name by their layers' digests. */
  async prune(engine: Engine, keep: (diffIds: string[]) => boolean, progress: Progress): Promise<void> {
    const [label, value] = this.#names.imageLabel
    for (const { Id } of await engine.images.list([`${label}=${value}`], progress)) {
      const layers = await this.#layersOf(engine, Id, progress)
      if (layers && keep(layers)) continue
      const removed = engine.images.remove(this.#names.image(Id), progress)
      // Used by a container: it goes with a later prune.
      await removed.catch((error: unknown) => {
        if (CoppiceError.from(error).code !== 'conflict') throw error
      })
    }
  }

  async #load(engine: Engine, bare: BareImage, progress: Progress): Promise<void> {
    const lacking = await this.#lacking(engine, bare, progress)
    try {
      await this.#send(engine, bare, lacking, progress)
    } catch (cause) {
      progress.throwIfEnded()
      if (lacking.size === 0 || !isAboutContent(cause)) throw cause
      // A layer went away since it was asked for, or this engine takes no archive with gaps: then all of it.
      progress.report(`${engine.dialect.title} wants all layers`)
      await this.#send(engine, bare, new Set(), progress)
    }
  }

  async #send(engine: Engine, bare: BareImage, lacking: ReadonlySet<number>, progress: Progress): Promise<void> {
    const { sizeBytes, chunks } = await imageArchive(bare, lacking, engine.dialect, progress)
    const message = `Loading into ${engine.dialect.title}`
    await engine.images.load({ sizeBytes, chunks: counted(chunks, message, sizeBytes, progress) }, progress)
    if (await engine.images.inspect(bare.id, progress)) return
    throw new CoppiceError(
      'failed_precondition',
      'image_not_loaded',
      `${engine.dialect.title} took the image and does not have it.`,
      {
        facts: { image: bare.id },
        hint: `${engine.dialect.kind} images --all`,
      },
    )
  }

  /** Places of the layers that the engine has. */
  async #lacking(engine: Engine, bare: BareImage, progress: Progress): Promise<Set<number>> {
    const wanted = bare.layers.map(({ diffId }) => diffId)
    const held = new Set<string>()
    let chain = 0
    const images = await engine.images.list([], progress)
    for (const { Id } of images.slice(0, MAX_LOOKED_AT)) {
      const layers = (await this.#layersOf(engine, Id, progress)) ?? []
      for (const layer of layers) held.add(layer)
      let common = 0
      while (common < wanted.length && wanted[common] === layers[common]) common++
      chain = Math.max(chain, common)
    }
    const has =
      engine.dialect.layerReuse === 'chain' ? (_: string, at: number) => at < chain : (id: string) => held.has(id)
    return new Set(wanted.flatMap((id, at) => (has(id, at) ? [at] : [])))
  }

  async #layersOf(engine: Engine, id: string, progress: Progress): Promise<string[] | undefined> {
    const known = this.#layers.get(id)
    if (known) return known
    const found: ImageInspection | undefined = await engine.images.inspect(id, progress)
    const layers = found && (found.RootFS?.Layers ?? [])
    if (layers && this.#layers.size < 10 * MAX_LOOKED_AT) this.#layers.set(id, layers)
    return layers
  }
}

/** The engine spoke, and what it did not like was the archive: not a full disk, not a cut connection. */
function isAboutContent(cause: unknown): boolean {
  const { reason } = CoppiceError.from(cause)
  return reason === 'engine_refused' || reason === 'engine_failed' || reason === 'image_not_loaded'
}

async function* counted(
  chunks: AsyncIterable<Uint8Array>,
  message: string,
  total: number,
  progress: Progress,
): AsyncGenerator<Uint8Array> {
  let done = 0
  for await (const chunk of chunks) {
    yield chunk
    done += chunk.length
    progress.report({ message, done, total })
  }
}
