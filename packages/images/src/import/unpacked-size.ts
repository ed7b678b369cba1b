import { CoppiceError } from '@coppice/protocol/wire'

/** Throws `resource_exhausted/image_too_large`. */
export function checkUnpackedSize(unpacked: number, limit: number): void {
  if (unpacked <= limit) return
  throw new CoppiceError('resource_exhausted', 'image_too_large', `The image is larger than ${limit} bytes unpacked.`, {
    facts: { limit },
  })
}
