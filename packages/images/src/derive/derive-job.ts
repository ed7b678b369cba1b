import { rmSync } from 'node:fs'
import type { Progress } from '@coppice/protocol/wire'
import type { Job } from '../bulk/job.ts'
import { ByteProgress } from '../import/byte-progress.ts'
import { BlobDraft } from '../store/blob-draft.ts'
import type { BlobId } from '../store/blob-id.ts'
import { Intake, type StoreFolders } from '../store/intake.ts'
import { type ConfigBlob, type Descriptor, type Manifest, MediaType } from '../store/schemas.ts'
import { type LayerRequest, writeLayer } from './layer-writer.ts'
import { fileChunks, findLayer } from './saved-layer.ts'

export interface DeriveArgs extends LayerRequest {
  folders: StoreFolders
  /** What the new image is made of, besides its layer. */
  base: { manifest: Manifest; configBlob: ConfigBlob }
  /** What is fed: the layer itself, or a `docker save` archive with the layer `diffId` in it. */
  form: 'layer' | 'docker-archive'
  /** As far as it is known, for the progress. */
  sizeBytes: number | undefined
  /** When, ISO 8601, and by what: goes into the image's history. */
  created: string
  createdBy: string
}

export interface DeriveOutcome {
  descriptor: Descriptor
  /** The layer's blob, which is not packed: its digest is its diff id. */
  layer: BlobId
}

/** A job: makes an image of one that the store has and one more layer, which it is fed. */
export const deriveJob: Job<DeriveArgs, DeriveOutcome> = async (args, { store, input, progress }) => {
  const intake = new Intake(args.folders, store, progress)
  const layer = await takeLayer(args, counted(input, args.sizeBytes, progress), intake, progress)
  const { manifest, configBlob } = args.base
  const config = await intake.writeSmall(JSON.stringify(withLayer(configBlob, layer, args)))
  const { mediaType = MediaType.manifest } = manifest
  const next = {
    ...manifest,
    config: { ...manifest.config, ...config },
    layers: [...manifest.layers, { mediaType: layerType(mediaType), ...layer }],
  }
  const id = await intake.writeSmall(JSON.stringify(next))
  const platform = { architecture: configBlob.architecture, os: configBlob.os }
  return { descriptor: { mediaType, ...id, platform }, layer }
}

async function takeLayer(
  args: DeriveArgs,
  chunks: AsyncIterable<Buffer>,
  intake: Intake,
  progress: Progress,
): Promise<BlobId> {
  const draft = BlobDraft.create(intake.newPath())
  let found: { path: string; size: number } | undefined
  try {
    if (args.form === 'docker-archive') {
      found = await findLayer(chunks, args.diffId ?? '', knownDigests(args), intake, progress)
      await writeLayer(fileChunks(found.path, found.size, progress), draft, args, progress)
    } else {
      await writeLayer(chunks, draft, args, progress)
    }
    const layer = await draft.finish({})
    await intake.placeCopy(draft.path, layer)
    return layer
  } finally {
    if (found) rmSync(found.path, { force: true })
    await draft.remove()
  }
}

/** The layers below, by every name that an archive may give them. */
function knownDigests({ base, diffId }: DeriveArgs): Set<string> {
  const known = new Set([...base.configBlob.rootfs.diff_ids, ...base.manifest.layers.map(({ digest }) => digest)])
  // The same bytes once more.
  known.delete(diffId ?? '')
  return known
}

/** What the base says about its programs stays: whoever saved the layer knows nothing of it. */
function withLayer(base: ConfigBlob, layer: BlobId, { created, createdBy }: DeriveArgs): ConfigBlob {
  const history = Array.isArray(base.history) ? base.history : undefined
  return {
    ...base,
    created,
    rootfs: { ...base.rootfs, diff_ids: [...base.rootfs.diff_ids, layer.digest] },
    // A history says something of every layer, or is not there.
    ...(history && { history: [...history, { created, created_by: createdBy }] }),
  }
}

/** In the family of the manifest that names it. */
function layerType(manifestType: string): string {
  return manifestType.includes('docker') ? 'application/vnd.docker.image.rootfs.diff.tar' : MediaType.layer
}

async function* counted(
  source: AsyncIterable<Buffer>,
  size: number | undefined,
  progress: Progress,
): AsyncGenerator<Buffer> {
  const counter = new ByteProgress('Saving files', size, progress)
  for await (const chunk of source) {
    counter.add(chunk.length)
    yield chunk
  }
}
