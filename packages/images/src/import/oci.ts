import type { Progress } from '@coppice/protocol/wire'
import { checkBlob } from '../store/blob-id.ts'
import { digestOf } from '../store/digest.ts'
import type { Intake } from '../store/intake.ts'
import {
  checkConfigSize,
  checkLayerTypes,
  type Descriptor,
  parseConfig,
  parseIndex,
  parseManifest,
} from '../store/schemas.ts'
import { ByteProgress } from './byte-progress.ts'
import { chooseNamed, choosePlatform, layoutName, type Platform, requirePlatform, type Where } from './choose-image.ts'
import { blobName, type FileSource, missing, readSmall } from './file-source.ts'

/** What was brought in, and the name that its source gives it. */
export interface Found {
  descriptor: Descriptor
  name: string | undefined
}

export interface OciOptions {
  /** Which image, where there are several. */
  ref: string | undefined
  platform: Platform
  /** Another platform is refused, also where there is no other. */
  strict: boolean
  where: Where
}

/** Copies one image of an OCI layout into the store: only the blobs that it lacks. */
export async function importOci(
  source: FileSource,
  { ref, platform, strict, where }: OciOptions,
  intake: Intake,
  progress: Progress,
): Promise<Found> {
  if ((await source.size('oci-layout')) === undefined) throw missing('oci-layout')
  const index = parseIndex(await readSmall(source, 'index.json'), 'index.json of the image')
  const named = chooseNamed(index.manifests, ref, where)
  const chosen = await choosePlatform((digest) => readChecked(source, digest), named, platform)
  const manifest = parseManifest(await readChecked(source, chosen.digest), `The manifest ${chosen.digest}`)
  checkLayerTypes(manifest.layers)
  checkConfigSize(manifest)
  const config = parseConfig(await readChecked(source, manifest.config.digest), 'The image config')
  if (strict) requirePlatform(config, platform)
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
  const descriptor = {
    mediaType: chosen.mediaType,
    digest: chosen.digest,
    size: chosen.size,
    platform: { architecture: config.architecture, os: config.os },
  }
  return { descriptor, name: layoutName(named) }
}

/** A small blob. Throws `invalid_argument/digest_mismatch` when it is not what its name says: nothing is to be read out of that. */
async function readChecked(source: FileSource, digest: string): Promise<Buffer> {
  const bytes = await readSmall(source, blobName(digest))
  checkBlob({ digest: digestOf(bytes), size: bytes.length }, { digest })
  return bytes
}
