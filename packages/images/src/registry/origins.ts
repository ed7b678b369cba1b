import { formatRegistryReference, parseRegistryReference, type RegistryReference } from '@coppice/protocol/wire'
import { imageParts } from '../export/oci-archive.ts'
import type { Layout, ResolvedImage } from '../store/layout.ts'
import { type Descriptor, PLACES } from '../store/schemas.ts'
import type { Upload } from './upload.ts'

/** Places that are remembered for an image, and repositories that are asked for a blob. */
const MAX_PLACES = 8
const MAX_MOUNTS = 2

/**
 * Config and layers of an image, with the other repositories of the same registry that should have them: those that images
 * of this store came from or went to.
 */
export async function uploadsOf(layout: Layout, image: ResolvedImage, to: RegistryReference): Promise<Upload[]> {
  const repositories = new Map<string, Set<string>>()
  for (const descriptor of await layout.index.read()) {
    const theirs = placesOf(descriptor).filter((place) => place.host === to.host && place.repository !== to.repository)
    if (theirs.length === 0) continue
    // An image that cannot be read is no reason not to push another.
    const known = await layout.load(descriptor).catch(() => undefined)
    for (const part of known ? imageParts(known) : []) {
      const found = repositories.get(part.digest) ?? new Set()
      for (const place of theirs) found.add(place.repository)
      repositories.set(part.digest, found)
    }
  }
  return imageParts(image)
    .filter((part) => part.digest !== image.digest)
    .map((part) => ({
      ...part,
      path: layout.blobs.path(part.digest),
      mountFrom: [...(repositories.get(part.digest) ?? [])].slice(0, MAX_MOUNTS),
    }))
}

/** Notes that a registry has an image now. */
export async function rememberPush(layout: Layout, digest: string, to: RegistryReference): Promise<void> {
  const place = formatRegistryReference(to)
  await layout.index.change((manifests) =>
    manifests.map((descriptor) => {
      if (descriptor.digest !== digest) return descriptor
      const before = (descriptor.annotations?.[PLACES] ?? '')
        .split(',')
        .filter((other) => other !== '' && other !== place)
      return {
        ...descriptor,
        annotations: { ...descriptor.annotations, [PLACES]: [...before.slice(1 - MAX_PLACES), place].join(',') },
      }
    }),
  )
}

function placesOf(descriptor: Descriptor): RegistryReference[] {
  const texts = (descriptor.annotations?.[PLACES] ?? '').split(',')
  return texts.flatMap((text) => {
    try {
      return text ? [parseRegistryReference(text)] : []
    } catch {
      return []
    }
  })
}
