import { existsSync } from 'node:fs'
import { type ImagePlace, parseImagePlace } from '@coppice/sdk'

/** Where an image comes from; a text that names an existing file means the file. */
export function parseSource(text: string): ImagePlace {
  return parseImagePlace(text, { exists: existsSync })
}

/** Where an image is exported to: a text without a transport is a file, whether it is there or not. */
export function parseTarget(text: string): ImagePlace {
  return parseImagePlace(text, { exists: (path) => path === text && !/^(oci|oci-archive|docker-archive):/.test(text) })
}
