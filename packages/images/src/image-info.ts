import { basename } from 'node:path'
import type { ImageInfo } from '@coppice/protocol/wire'
import type { ResolvedImage } from './store/layout.ts'
import { IMPORTED_AT, SOURCE } from './store/schemas.ts'

/** An image as it is listed. */
export function imageInfo(image: ResolvedImage, name: string): ImageInfo {
  const { manifest, configBlob, descriptor } = image
  const importedAt = Number(descriptor.annotations?.[IMPORTED_AT] ?? 0)
  const created = Date.parse(configBlob.created ?? '')
  return {
    name,
    digest: image.digest,
    architecture: configBlob.architecture,
    os: configBlob.os,
    sizeBytes: [descriptor, manifest.config, ...manifest.layers].reduce((sum, part) => sum + part.size, 0),
    layers: manifest.layers.length,
    createdAt: Number.isNaN(created) ? importedAt : created,
    source: descriptor.annotations?.[SOURCE] ?? '',
    config: image.config,
  }
}

/** `/tmp/My App.tar.gz` → `my-app`. */
export function nameFromFile(path: string): string {
  const file = basename(path).replace(/(\.(tar|oci|gz|tgz|zst|tzst))+$/i, '')
  return (
    file
      .toLowerCase()
      .replaceAll(/[^a-z0-9._-]+/g, '-')
      .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '') || 'image'
  )
}
