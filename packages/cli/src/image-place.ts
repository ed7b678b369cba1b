import { existsSync } from 'node:fs'
import { CoppiceError, type ImagePlace, parseImagePlace } from '@coppice/sdk'

/** Where an image comes from; a text that names an existing file means the file. */
export function parseSource(text: string): ImagePlace {
  return parseImagePlace(text, { exists: existsSync })
}

/** Beginnings of places that are not the names of files, whether a transport is served or not. */
const TRANSPORT = /^(?:oci|(?:oci|docker)-archive|containers-storage|dir|docker-tar|ostree|sif|tarball):/

/**
 * Where an image is exported to: a text without a transport is a file, whether it is there or not.
 * @param ref what is exported, for the advice
 */
export function parseTarget(text: string, ref = 'REF'): ImagePlace {
  return withAdvice(text, ref, () =>
    parseImagePlace(text, { exists: (path) => path === text && !TRANSPORT.test(text) }),
  )
}

/** Where an image is pushed to. @param ref what is pushed, for the advice */
export function parsePushTarget(text: string, ref: string): ImagePlace {
  return withAdvice(text, ref, () => parseImagePlace(text))
}

/** True for `HOST/NAME`, which people take for a registry, and a file system for a file in a folder. */
export function namesRegistry(text: string): boolean {
  try {
    const place = parseImagePlace(text)
    return place.kind === 'registry' && /^[^/]*[.:]|^localhost\//.test(text)
  } catch {
    return false
  }
}

/** The advice for a transport that is not served leads the other way round than for a source. */
function withAdvice<T>(text: string, ref: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    const { code, reason, message, facts } = CoppiceError.from(error)
    if (reason !== 'image_transport') throw error
    const hint = `coppice image export ${ref} image.tar && skopeo copy oci-archive:image.tar ${text}`
    throw new CoppiceError(code, reason, message, { facts, hint, cause: error })
  }
}
