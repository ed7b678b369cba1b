import { CoppiceError, familiarName, parseRegistryReference } from '@coppice/protocol/wire'
import { badArchive } from '../faults.ts'
import { nameOf } from '../store/index-file.ts'
import { type Descriptor, hostArchitecture, isIndex, isManifest, parseIndex } from '../store/schemas.ts'

/** How deep indexes may lie in one another. */
const MAX_INDEX_DEPTH = 4

/** The annotation in which containerd and Docker keep the whole name; their `ref.name` is only the tag. */
const CONTAINERD_NAME = 'io.containerd.image.name'

/** Which variant of an image is taken, in OCI's words: `linux`, `amd64`, `v8`. */
export interface Platform {
  os: string
  architecture: string
  variant?: string
}

/** The platform of this machine. */
export function hostPlatform(): Platform {
  return { os: 'linux', architecture: hostArchitecture() }
}

/** `linux/arm64/v8` or `arm64`. Throws `invalid_argument/invalid_platform`. */
export function parsePlatform(text: string): Platform {
  const match = /^(?:([a-z0-9]+)\/)?([a-z0-9_]+)(?:\/([a-z0-9.]+))?$/.exec(text)
  if (!match) {
    throw new CoppiceError('invalid_argument', 'invalid_platform', `"${text}" is no platform.`, {
      hint: 'Write linux/amd64, linux/arm64 or linux/arm/v7.',
    })
  }
  const [, os = 'linux', architecture = '', variant] = match
  return { os, architecture, ...(variant !== undefined && { variant }) }
}

/** The name that a layout gives an image, as people type it. */
export function layoutName(descriptor: Descriptor): string | undefined {
  const full = descriptor.annotations?.[CONTAINERD_NAME]
  if (full === undefined) return nameOf(descriptor)
  try {
    return familiarName(parseRegistryReference(full))
  } catch {
    return full
  }
}

/** The image of the name wanted, or the only one. */
export function chooseNamed(manifests: Descriptor[], ref: string | undefined): Descriptor {
  const candidates =
    ref === undefined
      ? manifests
      : manifests.filter(
          (descriptor) =>
            [nameOf(descriptor), descriptor.annotations?.[CONTAINERD_NAME], layoutName(descriptor)].includes(ref) ||
            descriptor.digest === ref,
        )
  const [only] = candidates
  if (only && candidates.every(({ digest }) => digest === only.digest)) return only
  const names = manifests.map((descriptor) => layoutName(descriptor) ?? descriptor.digest)
  if (!only) throw notInLayout(ref, names)
  throw severalImages(names)
}

/** No image of the name wanted, or none at all. */
export function notInLayout(ref: string | undefined, names: string[]): CoppiceError {
  return badArchive('image_not_in_layout', `There is no image${ref ? ` named "${ref}"` : ''} in it.`, { names })
}

/** One has to be named. */
export function severalImages(names: string[]): CoppiceError {
  return badArchive('several_images_in_layout', 'It holds several images: say which one, as oci:DIR:NAME.', { names })
}

/** Goes down through indexes to the image for a platform. `read` gives an index by its digest, and has checked it. */
export async function choosePlatform(
  read: (digest: string, size: number) => Promise<Buffer>,
  descriptor: Descriptor,
  platform: Platform,
  depth = 0,
): Promise<Descriptor> {
  if (isManifest(descriptor)) return descriptor
  if (!isIndex(descriptor) || depth >= MAX_INDEX_DEPTH) {
    throw new CoppiceError('unsupported', 'not_an_image', `It is ${descriptor.mediaType}, which is no image.`)
  }
  const bytes = await read(descriptor.digest, descriptor.size)
  const { manifests } = parseIndex(bytes, `The index ${descriptor.digest}`)
  const chosen = bestFit(manifests, platform) ?? (manifests.length === 1 ? manifests[0] : undefined)
  if (!chosen) {
    throw new CoppiceError(
      'failed_precondition',
      'no_image_for_platform',
      `The image has no variant for ${platformText(platform)}.`,
      {
        facts: {
          platforms: manifests.flatMap((manifest) => (manifest.platform ? [platformText(manifest.platform)] : [])),
        },
      },
    )
  }
  return choosePlatform(read, chosen, platform, depth + 1)
}

/** The exact variant; without one asked for, the plain one or else the first. */
function bestFit(manifests: Descriptor[], wanted: Platform): Descriptor | undefined {
  const fits = manifests.filter(
    ({ platform }) =>
      platform?.architecture === wanted.architecture &&
      platform.os === wanted.os &&
      (wanted.variant === undefined || variantOf(platform) === wanted.variant),
  )
  return fits.find(({ platform }) => platform && variantOf(platform) === '') ?? fits[0]
}

function variantOf(platform: NonNullable<Descriptor['platform']>): string {
  return typeof platform.variant === 'string' ? platform.variant : ''
}

function platformText(platform: { os: string; architecture: string; variant?: unknown }): string {
  const variant = typeof platform.variant === 'string' ? `/${platform.variant}` : ''
  return `${platform.os}/${platform.architecture}${variant}`
}
