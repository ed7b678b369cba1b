import type { Progress } from '@coppice/protocol/wire'
import { blobName } from '../import/file-source.ts'
import type { Layout, ResolvedImage } from '../store/layout.ts'
import { type Descriptor, type Index, MediaType, REF_NAME } from '../store/schemas.ts'
import { encodeHeader } from '../tar/header.ts'
import { type ArchiveStream, archiveOf, blobFile, smallFile } from './archive-stream.ts'

/** Of every layout. */
export const LAYOUT_MARKER = '{"imageLayoutVersion":"1.0.0"}'

/**
 * One image as an OCI archive: a tar of a layout that holds this image alone, under its name. The same image under the same
 * name always gives the same bytes.
 */
export function ociArchive(layout: Layout, image: ResolvedImage, progress: Progress): ArchiveStream {
  const index: Index = { schemaVersion: 2, mediaType: MediaType.index, manifests: [indexEntry(image, image.name)] }
  const parts = [
    ...smallFile('oci-layout', LAYOUT_MARKER),
    ...smallFile('index.json', JSON.stringify(index)),
    encodeHeader({ name: 'blobs/', type: '5', size: 0 }),
    encodeHeader({ name: 'blobs/sha256/', type: '5', size: 0 }),
    ...imageParts(image).flatMap((part) => blobFile(blobName(part.digest), part)),
  ]
  return archiveOf(layout, parts, progress)
}

/** Only what belongs to the image: where this store has it from is nobody else's business. */
export function indexEntry(image: ResolvedImage, name: string | undefined): Descriptor {
  const { mediaType, digest, size, platform } = image.descriptor
  return {
    mediaType,
    digest,
    size,
    ...(name !== undefined && { annotations: { [REF_NAME]: name } }),
    ...(platform && { platform }),
  }
}

/** Layers, config and manifest. An image may use one layer twice; it is there once. */
export function imageParts(image: ResolvedImage): { digest: string; size: number }[] {
  const all = [...image.manifest.layers, image.manifest.config, image.descriptor]
  return [...new Map(all.map(({ digest, size }) => [digest, { digest, size }])).values()]
}
