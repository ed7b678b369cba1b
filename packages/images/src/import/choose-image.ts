import { CoppiceError } from '@coppice/protocol/wire'
import { badArchive } from '../faults.ts'
import { nameOf } from '../store/index-file.ts'
import { type Descriptor, hostArchitecture, isIndex, isManifest, parseIndex } from '../store/schemas.ts'
import { blobName, type OciSource, readSmall } from './oci-source.ts'

/** How deep indexes may lie in one another. */
const MAX_INDEX_DEPTH = 4

/** The image of the name wanted, or the only one. */
export function chooseNamed(manifests: Descriptor[], ref: string | undefined): Descriptor {
  const candidates = ref === undefined ? manifests : manifests.filter((descriptor) => nameOf(descriptor) === ref)
  const [only] = candidates
  if (only && candidates.length === 1) return only
  const names = manifests.map((descriptor) => nameOf(descriptor) ?? descriptor.digest)
  if (!only)
    throw badArchive('image_not_in_layout', `The layout holds no image${ref ? ` named "${ref}"` : ''}.`, { names })
  throw badArchive('several_images_in_layout', 'The layout holds several images: say which one, as oci:DIR:NAME.', {
    names,
  })
}

/** Goes down through indexes to the image for this machine. */
export async function choosePlatform(source: OciSource, descriptor: Descriptor, depth = 0): Promise<Descriptor> {
  if (isManifest(descriptor)) return descriptor
  if (!isIndex(descriptor) || depth >= MAX_INDEX_DEPTH) {
    throw new CoppiceError(
      'unsupported',
      'not_an_image',
      `The layout holds ${descriptor.mediaType}, which is no image.`,
    )
  }
  const index = parseIndex(await readSmall(source, blobName(descriptor.digest)), `The index ${descriptor.digest}`)
  const architecture = hostArchitecture()
  const fits = index.manifests.filter(
    ({ platform }) => platform?.architecture === architecture && platform.os === 'linux',
  )
  const chosen = fits[0] ?? (index.manifests.length === 1 ? index.manifests[0] : undefined)
  if (!chosen) {
    throw new CoppiceError(
      'failed_precondition',
      'no_image_for_platform',
      `The image has no variant for linux/${architecture}.`,
      {
        facts: { platforms: index.manifests.map(({ platform }) => `${platform?.os}/${platform?.architecture}`) },
      },
    )
  }
  return choosePlatform(source, chosen, depth + 1)
}
