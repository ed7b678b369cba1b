import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { bulkThread } from '../bulk/bulk-thread.ts'
import type { BlobId } from '../store/blob-id.ts'
import type { Layout, ResolvedImage } from '../store/layout.ts'
import { IMPORTED_AT, SOURCE } from '../store/schemas.ts'
import { StoreDesk } from '../store/store-desk.ts'

/** Layers of one image: as many as overlayfs stacks. Engines stop earlier: Docker at 125. */
const MAX_LAYERS = 500

/** What is to lie on top of an image. */
export interface AddedLayer {
  /** What `chunks` are: one layer as tar, not packed; or a `docker save` archive that holds the layer `diffId`. */
  form: 'layer' | 'docker-archive'
  /** What the layer hashes to as it comes; needed for `docker-archive`. */
  diffId?: string | undefined
  chunks: AsyncIterable<Uint8Array>
  /** Paths without a slash in front: they, and what lies below them, are no part of it. */
  leaveOut?: readonly string[]
  /** Bytes that will come, as far as that is known: for the progress. */
  sizeBytes?: number | undefined
}

export interface DerivedImage {
  image: ResolvedImage
  /** Its own layer, as it is kept. */
  layer: BlobId
  /** Until this is called it stays; from then on, as long as it is in use. It has no name. */
  release: () => void
}

/** See `ImageStore.derive`. */
export async function deriveImage(
  layout: Layout,
  base: ResolvedImage,
  added: AddedLayer,
  options: { source: string; maxUnpackedBytes: number },
  progress: Progress,
): Promise<DerivedImage> {
  if (base.diffIds.length >= MAX_LAYERS) throw tooManyLayers(base)
  const hold = layout.holds.open()
  try {
    const args = {
      folders: layout.folders,
      base: { manifest: base.manifest, configBlob: base.configBlob },
      form: added.form,
      diffId: added.diffId,
      leaveOut: added.leaveOut ?? [],
      sizeBytes: added.sizeBytes,
      maxUnpackedBytes: options.maxUnpackedBytes,
      created: new Date().toISOString(),
      createdBy: options.source,
    }
    const desk = new StoreDesk(layout, hold)
    const { descriptor, layer } = await bulkThread.run('derive', args, desk, progress, added.chunks)
    const annotations = { [SOURCE]: options.source, [IMPORTED_AT]: String(Date.now()) }
    const nameless = { ...descriptor, annotations }
    const image = await layout.load(nameless)
    await layout.index.change((manifests) =>
      manifests.some(({ digest }) => digest === descriptor.digest) ? undefined : [...manifests, nameless],
    )
    return { image, layer, release: hold.release }
  } catch (error) {
    hold.release()
    throw error
  }
}

function tooManyLayers({ name, digest }: ResolvedImage): CoppiceError {
  return new CoppiceError('failed_precondition', 'too_many_layers', `The image has ${MAX_LAYERS} layers already.`, {
    facts: { image: name ?? digest, layers: MAX_LAYERS },
    hint: 'Copy what you need into a sandbox made from an image with fewer layers, and save that.',
  })
}
