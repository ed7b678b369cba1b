import type { Progress } from '@coppice/protocol/wire'
import type { Intake } from '../store/intake.ts'

import { checkLayerTypes, type Descriptor, parseConfig, parseIndex, parseManifest } from '../store/schemas.ts'
import { ByteProgress } from './byte-progress.ts'
import { chooseNamed, choosePlatform, layoutName, type Platform } from './choose-image.ts'
import { blobName, type FileSource, missing, readSmall } from './file-source.ts'

/** What was brought in, and the name that its source gives it. */
export interface Found {
  descriptor: Descriptor
  name: string | undefined
}

/** Copies one image of an OCI layout into the store: only the blobs that it lacks. */
export async function importOci(
  source: FileSource,
  ref: string | undefined,
  platform: Platform,
  intake: Intake,
  progress: Progress,
): Promise<Found> {
  if ((await source.size('oci-layout')) === undefined) throw missing('oci-layout')
  const index = parseIndex(await readSmall(source, 'index.json'), 'index.json of the image')
  const named = chooseNamed(index.manifests, ref)
  const chosen = await choosePlatform((digest) => readSmall(source, blobName(digest)), named, platform)
  const manifestName = blobName(chosen.digest)
  const manifest = parseManifest(await readSmall(source, manifestName), `The manifest ${chosen.digest}`)
  checkLayerTypes(manifest.layers)
  const parts = [manifest.config, ...manifest.layers, chosen]
  const counter = new ByteProgress(
    'Copying layers',
    parts.reduce((sum, part) => sum + part.size, 0),
    progress,
  )
  if (!source.spooled) await intake.requireRoomFor(parts)
  for (const part of parts) {
    const name = blobName(part.digest)
    if ((await source.size(name)) === undefined) throw missing(name)
    await source.intoStore(name, part, intake, counter)
  }
  const config = parseConfig(await intake.readSmall(manifest.config.digest), 'The image config')
  const descriptor = {
    mediaType: chosen.mediaType,
    digest: chosen.digest,
    size: chosen.size,
    platform: { architecture: config.architecture, os: config.os },
  }
  return { descriptor, name: layoutName(named) }
}
