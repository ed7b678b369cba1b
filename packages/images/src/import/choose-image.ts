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

/** What an image says of itself. */
interface ImagePlatform {
  os: string
  architecture: string
  variant?: unknown
}

/** The platform of this machine. */
export function hostPlatform(): Platform {
  return { os: 'linux', architecture: hostArchitecture() }
}

/** What other tools call an architecture, in OCI's words. */
const SPELLINGS: Record<string, Omit<Platform, 'os'>> = {
  aarch64: { architecture: 'arm64' },
  armel: { architecture: 'arm', variant: 'v6' },
  armhf: { architecture: 'arm', variant: 'v7' },
  i386: { architecture: '386' },
  'x86-64': { architecture: 'amd64' },
  x86_64: { architecture: 'amd64' },
}

/** `linux/arm64/v8`, `arm64`, or as other tools spell it: `Linux/aarch64`. Throws `invalid_argument/invalid_platform`. */
export function parsePlatform(text: string): Platform {
  const match = /^(?:([a-z0-9]+)\/)?([a-z0-9_-]+)(?:\/([a-z0-9.]+))?$/.exec(text.toLowerCase())
  if (!match) {
    throw new CoppiceError('invalid_argument', 'invalid_platform', `"${text}" is no platform.`, {
      hint: 'Write linux/amd64, linux/arm64 or linux/arm/v7.',
    })
  }
  const [, os = 'linux', architecture = '', variant] = match
  const known = Object.hasOwn(SPELLINGS, architecture) ? SPELLINGS[architecture] : undefined
  return { os, architecture, ...known, ...(variant !== undefined && { variant }) }
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

/**
 * Where one of several images is named: as people write the place without the name, `FILE` and `DIR` standing for what they called it.
 */
export type Where = 'docker-archive:FILE' | 'oci-archive:FILE' | `oci:${string}`

/** The image of the name wanted, or the only one. */
export function chooseNamed(manifests: Descriptor[], ref: string | undefined, where: Where): Descriptor {
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
  if (!only) throw notInLayout(ref, names, where)
  throw severalImages(names, where)
}

/** No image of the name wanted, or none at all. */
export function notInLayout(ref: string | undefined, names: string[], where: Where): CoppiceError {
  const wanted = `There is no image${ref ? ` named "${ref}"` : ''} in it`
  const message = names.length === 0 ? `${wanted}.` : `${wanted}, but: ${listed(names)}.`
  return badArchive('image_not_in_layout', message, { names }, nameOne(names, where))
}

/** One has to be named. */
export function severalImages(names: string[], where: Where): CoppiceError {
  const message = `It holds several images: ${listed(names)}.`
  return badArchive('several_images_in_layout', message, { names }, nameOne(names, where))
}

/** Names that are told of many, and characters of each: the message has to hold them all. */
const MAX_LISTED_NAMES = 10
const MAX_NAME_CHARACTERS = 80

function listed(names: string[]): string {
  const shown = names.slice(0, MAX_LISTED_NAMES).map((name) => name.slice(0, MAX_NAME_CHARACTERS))
  const more = names.length - shown.length
  return `${shown.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}

function nameOne([first]: string[], where: Where): string | undefined {
  return first === undefined ? undefined : `${where}:${first}`
}

/** The platform that was asked for, and of an image that says its variant that too. Throws `no_image_for_platform`. */
export function requirePlatform(image: ImagePlatform, wanted: Platform): void {
  const variant = variantOf(image)
  const fits =
    image.architecture === wanted.architecture &&
    image.os === wanted.os &&
    (wanted.variant === undefined || variant === '' || variant === wanted.variant)
  if (fits) return
  const only = platformText(image)
  throw new CoppiceError('failed_precondition', 'no_image_for_platform', `The image is for ${only} alone.`, {
    facts: { platforms: [only] },
  })
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

function variantOf(platform: ImagePlatform): string {
  return typeof platform.variant === 'string' ? platform.variant : ''
}

function platformText(platform: ImagePlatform): string {
  const variant = typeof platform.variant === 'string' ? `/${platform.variant}` : ''
  return `${platform.os}/${platform.architecture}${variant}`
}
