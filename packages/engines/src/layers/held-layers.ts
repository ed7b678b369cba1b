import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { Engine } from '../api/engine.ts'
import type { Dialect } from '../dialect.ts'

/** Images of an engine that are looked at for layers that it has. */
const MAX_LOOKED_AT = 500

/** Images whose layers are remembered. */
const MAX_REMEMBERED = 10 * MAX_LOOKED_AT

/** Which layers engines hold, so that they need not be sent. */
export class HeldLayers {
  /** By image id: an image with other layers has another. */
  readonly #layers = new Map<string, string[]>()

  /**
   * Places of the layers that an archive of this kind can do without: the engine has them, in the way that it wants to have them
   * for that (see `Dialect.layerReuse`). One of them may be gone when the archive comes: see `isAboutArchive`.
   *
   * @param diffIds of an image, the lowest first
   */
  async find(
    engine: Engine,
    diffIds: readonly string[],
    archive: Dialect['imageArchive'],
    progress: Progress,
  ): Promise<Set<number>> {
    if (archive !== engine.dialect.imageArchive) return new Set()
    const held = new Set<string>()
    let chain = 0
    const images = await engine.images.list([], progress)
    for (const { Id } of images.slice(0, MAX_LOOKED_AT)) {
      const layers = (await this.layersOf(engine, Id, progress)) ?? []
      for (const layer of layers) held.add(layer)
      let common = 0
      while (common < diffIds.length && diffIds[common] === layers[common]) common++
      chain = Math.max(chain, common)
    }
    const inChain = engine.dialect.layerReuse === 'chain'
    return new Set([...diffIds.keys()].filter((at) => (inChain ? at < chain : held.has(diffIds[at] as string))))
  }

  /** The layers of an image of an engine, the lowest first. Undefined when there is no such image. */
  async layersOf(engine: Engine, imageId: string, progress: Progress): Promise<string[] | undefined> {
    const known = this.#layers.get(imageId)
    if (known) return known
    const found = await engine.images.inspect(imageId, progress)
    const layers = found && (found.RootFS?.Layers ?? [])
    if (layers && this.#layers.size < MAX_REMEMBERED) this.#layers.set(imageId, layers)
    return layers
  }
}

/**
 * True when an engine took an archive's bytes and did not like what they say: a layer that was left out may be one that it has not
 * any more, and the whole archive is worth another try. False for a full disk, a cut connection, and who may not send at all.
 */
export function isAboutArchive(error: unknown): boolean {
  const { code, reason } = CoppiceError.from(error)
  return reason === 'engine_failed' || (reason === 'engine_refused' && code !== 'permission_denied')
}
