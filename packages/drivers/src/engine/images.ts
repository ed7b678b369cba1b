import { type Engine, HeldLayers, isAboutArchive } from '@coppice/engines'
import { SharedWork } from '@coppice/images'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { DriverImage } from '../driver.ts'
import { type BareImage, bareImage, imageArchive } from './image-archive.ts'
import type { Names } from './names.ts'

/** Images, as the engine of a driver has them: made from our layers when they are needed, only what is missing sent. */
export class EngineImages {
  readonly #names: Names
  readonly #saving: () => Set<string>
  readonly #loads = new SharedWork<void>()
  readonly #held = new HeldLayers()

  /** @param saving names of images in which the files of a sandbox are, and that somebody reads */
  constructor(names: Names, saving: () => Set<string>) {
    this.#names = names
    this.#saving = saving
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
    for (const { Id, RepoTags } of await engine.images.list([`${label}=${value}`], progress)) {
      const saved = (RepoTags ?? []).filter((name) => this.#names.isSaved(name))
      for (const name of saved) if (!this.#saving().has(name)) await engine.images.remove(name, progress, true)
      if (saved.length > 0) continue
      const layers = await this.#held.layersOf(engine, Id, progress)
      if (layers && keep(layers)) continue
      const removed = engine.images.remove(this.#names.image(Id), progress)
      // Used by a container: it goes with a later prune.
      await removed.catch((error: unknown) => {
        if (CoppiceError.from(error).code !== 'conflict') throw error
      })
    }
  }

  async #load(engine: Engine, bare: BareImage, progress: Progress): Promise<void> {
    const diffIds = bare.layers.map(({ diffId }) => diffId)
    const lacking = await this.#held.find(engine, diffIds, engine.dialect.imageArchive, progress)
    try {
      await this.#send(engine, bare, lacking, progress)
    } catch (cause) {
      progress.throwIfEnded()
      const refused = isAboutArchive(cause) || CoppiceError.from(cause).reason === 'image_not_loaded'
      if (lacking.size === 0 || !refused) throw cause
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
