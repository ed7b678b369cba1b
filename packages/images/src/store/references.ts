import { CoppiceError } from '@coppice/protocol/wire'
import { nameOf } from './index-file.ts'
import type { Descriptor } from './schemas.ts'

export { checkImageName as checkName, isImageName as isName } from '@coppice/protocol/wire'

/** Fewest hex digits of a shortened digest. */
const MIN_DIGEST_PREFIX = 12

/**
 * The image that a reference means: a name (`app` and `app:latest` are the same), a digest, or the first 12 or more digits
 * of one. Throws `not_found/image_not_found`, `conflict/ambiguous_image`.
 */
export function matchReference(manifests: Descriptor[], reference: string): Descriptor {
  const wanted = withTag(reference)
  const named = manifests.find((descriptor) => withTag(nameOf(descriptor) ?? '') === wanted)
  if (named) return named
  const hex = /^(?:sha256:)?([0-9a-f]+)$/.exec(reference)?.[1]
  const byDigest =
    hex && hex.length >= MIN_DIGEST_PREFIX
      ? manifests.filter((descriptor) => descriptor.digest.startsWith(`sha256:${hex}`))
      : []
  const [first] = byDigest
  if (!first) {
    throw new CoppiceError('not_found', 'image_not_found', `There is no image "${reference}".`, {
      facts: { image: reference },
      hint: reference === 'base' ? 'coppice image bootstrap' : 'coppice image ls',
    })
  }
  if (byDigest.some((descriptor) => descriptor.digest !== first.digest)) {
    throw new CoppiceError('conflict', 'ambiguous_image', `"${reference}" begins the digest of several images.`, {
      facts: { digests: byDigest.map((descriptor) => descriptor.digest) },
    })
  }
  return first
}

/** True when both names mean the same image. */
export function sameName(a: string | undefined, b: string): boolean {
  return a !== undefined && withTag(a) === withTag(b)
}

function withTag(name: string): string {
  return name === '' || name.includes('@') || name.lastIndexOf(':') > name.lastIndexOf('/') ? name : `${name}:latest`
}
