import type { Engine } from '@coppice/engines'
import { CoppiceError, type Progress } from '@coppice/protocol'

/** Images of an engine that are looked at for layers that it has. */
const MAX_LOOKED_AT = 500

/** How many of these layers, from the lowest on, an engine has on top of one another: those need not be sent. */
export async function layersHeld(engine: Engine, diffIds: readonly string[], progress: Progress): Promise<number> {
  // Podman takes no archive in which layers are missing.
  if (engine.dialect.kind !== 'docker') return 0
  let held = 0
  for (const { Id } of (await engine.images.list([], progress)).slice(0, MAX_LOOKED_AT)) {
    const layers = (await engine.images.inspect(Id, progress))?.RootFS?.Layers ?? []
    let common = 0
    while (common < diffIds.length && diffIds[common] === layers[common]) common += 1
    held = Math.max(held, common)
  }
  return held
}

/** True for what an engine says of an archive's content, and not of itself. */
export function isAboutContent(error: unknown): boolean {
  return CoppiceError.from(error).code === 'failed_precondition'
}
