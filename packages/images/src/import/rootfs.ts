import { createHash } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import type { ImageConfig, Progress } from '@coppice/protocol/wire'
import { type Compression, decompressed } from '../compression.ts'
import { BlobDraft } from '../store/blob-draft.ts'
import type { Intake } from '../store/intake.ts'
import { type ConfigBlob, fromImageConfig, hostArchitecture, MediaType } from '../store/schemas.ts'
import { LayerRules } from '../tar/layer-rules.ts'
import { TarScanner } from '../tar/scanner.ts'
import type { Found } from './oci.ts'
import { checkUnpackedSize } from './unpacked-size.ts'

export interface RootfsOptions {
  /** What the image says about its programs. */
  config: ImageConfig
  /** Unpacked bytes after which the import is refused. */
  maxUnpackedBytes: number
}

/**
 * Makes an image of one layer from an archive of a root file system. The archive becomes the layer as it is, packed or not;
 * it is read once, and what could not be unpacked safely is refused now. The same archive always gives the same image.
 */
export async function importRootfs(
  chunks: AsyncIterable<Buffer>,
  compression: Compression,
  options: RootfsOptions,
  intake: Intake,
  progress: Progress,
): Promise<Found> {
  const draft = BlobDraft.create(intake.newPath())
  try {
    const raw = teeInto(chunks, draft, progress)
    const diffId = await checkLayer(decompressed(raw, compression), compression, options.maxUnpackedBytes)
    const layer = await draft.finish({})
    await intake.placeCopy(draft.path, layer)
    const configBlob: ConfigBlob = {
      architecture: hostArchitecture(),
      os: 'linux',
      config: fromImageConfig(options.config),
      rootfs: { type: 'layers', diff_ids: [diffId ?? layer.digest] },
    }
    const config = await intake.writeSmall(JSON.stringify(configBlob))
    const mediaType = compression === 'none' ? MediaType.layer : `${MediaType.layer}+${compression}`
    const manifest = {
      schemaVersion: 2,
      mediaType: MediaType.manifest,
      config: { mediaType: MediaType.config, ...config },
      layers: [{ mediaType, ...layer }],
    }
    const id = await intake.writeSmall(JSON.stringify(manifest))
    const platform = { architecture: configBlob.architecture, os: configBlob.os }
    return { descriptor: { mediaType: MediaType.manifest, ...id, platform }, name: undefined }
  } finally {
    await draft.remove()
  }
}

async function* teeInto(source: AsyncIterable<Buffer>, draft: BlobDraft, progress: Progress): AsyncGenerator<Buffer> {
  for await (const chunk of source) {
    draft.write(chunk)
    await turn()
    progress.throwIfEnded()
    yield chunk
  }
}

/** Reads a layer to its end and refuses what must not be unpacked. Its digest, unless it is that of the packed bytes. */
async function checkLayer(
  chunks: AsyncIterable<Buffer>,
  compression: Compression,
  maxUnpackedBytes: number,
): Promise<string | undefined> {
  const rules = new LayerRules()
  const scanner = new TarScanner((entry) => rules.decide(entry))
  const hash = compression === 'none' ? undefined : createHash('sha256')
  let unpacked = 0
  for await (const chunk of chunks) {
    unpacked += chunk.length
    checkUnpackedSize(unpacked, maxUnpackedBytes)
    hash?.update(chunk)
    scanner.push(chunk)
  }
  scanner.finish()
  return hash && `sha256:${hash.digest('hex')}`
}
