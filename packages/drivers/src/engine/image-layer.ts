import { lstatSync } from 'node:fs'
import type { Engine, ImageInspection } from '@coppice/engines'
import type { Progress } from '@coppice/protocol/wire'
import { PackedLayer } from '../lifecycle/packed-layer.ts'
import { containerRoot } from './owner.ts'

/** Names of the storage drivers that keep a layer as a folder in overlayfs' own language. */
const OVERLAYS = ['overlay2', 'overlay']

/**
 * The folder in which the engine keeps the topmost layer of an image, where this process can read it as it is. Asking for that layer
 * alone is otherwise not possible: an engine gives out whole images, of which a few changed files may lie on gigabytes. An
 * image's layer was unpacked by the engine, so it is plain whatever options containers are mounted with.
 */
export async function readableLayer(
  engine: Engine,
  { GraphDriver }: ImageInspection,
  progress: Progress,
): Promise<string | undefined> {
  const upper = GraphDriver?.Data?.UpperDir
  if (upper === undefined || !OVERLAYS.includes(GraphDriver?.Name ?? '')) return undefined
  const { shifted } = await containerRoot(engine, progress)
  if (process.getuid?.() !== 0 || shifted) return undefined
  return lstatSync(upper, { throwIfNoEntry: false })?.isDirectory() ? upper : undefined
}

/** A layer in such a folder. It is packed when it is read first. */
export class LayerOfImage {
  readonly #upper: string
  readonly #scratch: string
  #layer: PackedLayer | undefined

  /** `scratch`: folder with room for it. */
  constructor(upper: string, scratch: string) {
    this.#upper = upper
    this.#scratch = scratch
  }

  async *chunks(progress: Progress): AsyncGenerator<Buffer> {
    progress.throwIfEnded()
    const layer = await PackedLayer.open(this.#scratch)
    this.#layer = layer
    try {
      await layer.pack(this.#upper, { uidBase: 0, leaveOut: [] }, progress)
      yield* layer.chunks(progress)
    } finally {
      await layer.close()
    }
  }

  async close(): Promise<void> {
    await this.#layer?.close()
  }
}
