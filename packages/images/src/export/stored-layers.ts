import { open } from 'node:fs/promises'
import { type Compression, MAGIC_BYTES, recogniseCompression } from '../compression.ts'
import { withStoreFaults } from '../faults.ts'
import type { Layout, ResolvedImage } from '../store/layout.ts'

/** A layer as the store has it. */
export interface StoredLayer {
  /** Digest of the layer unpacked. */
  diffId: string
  /** Digest of the blob. */
  digest: string
  sizeBytes: number
  encoding: 'identity' | 'gzip' | 'zstd'
  /** Its bytes, read as they are wanted: exactly `sizeBytes`. */
  open(): Promise<AsyncIterable<Buffer>>
}

/** The layers of an image, lowest first. How they are packed is told by their first bytes, not by what the manifest says. */
export function storedLayers(layout: Layout, image: ResolvedImage): Promise<StoredLayer[]> {
  return Promise.all(
    image.manifest.layers.map(async ({ digest, size }, at) => {
      const compression = await compressionOf(layout.blobs.path(digest))
      const encoding = compression === 'none' ? 'identity' : compression
      return {
        diffId: image.diffIds[at] as string,
        digest,
        sizeBytes: size,
        encoding,
        open: () => layout.blobs.read(digest, size),
      }
    }),
  )
}

/** How a blob of the store is packed, told by its first bytes. */
export async function compressionOf(path: string): Promise<Compression> {
  return withStoreFaults(path, async () => {
    const file = await open(path, 'r')
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(MAGIC_BYTES), 0, MAGIC_BYTES, 0)
      return recogniseCompression(buffer.subarray(0, bytesRead))
    } finally {
      await file.close()
    }
  })
}
