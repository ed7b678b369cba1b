import { createHash } from 'node:crypto'
import { BLOCK, encodeHeader } from '@coppice/images'
import type { LayerBlob } from '../driver.ts'

/** A layer that holds one empty folder: an engine takes no image without any. */
export function probeLayer(): LayerBlob {
  const bytes = Buffer.concat([encodeHeader({ name: 'tmp/', type: '5', size: 0 }), Buffer.alloc(2 * BLOCK)])
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  return {
    diffId: digest,
    digest,
    sizeBytes: bytes.length,
    encoding: 'identity',
    open: async () =>
      (async function* () {
        yield bytes
      })(),
  }
}
