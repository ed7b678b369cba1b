import { createHash } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'

/** A layer as a test wants it in a layout. */
export interface TestLayer {
  tar: Buffer
  packed?: 'gzip' | 'zstd'
}

export interface TestImage {
  layers: TestLayer[]
  name?: string
  config?: Record<string, unknown>
  architecture?: string
  /** Claimed instead of the layers' true digests. */
  diffIds?: string[]
}

const sha256 = (bytes: Buffer | string) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** Writes an OCI layout folder with these images, blob by blob and without any code of the store. Returns manifest digests. */
export async function writeLayout(dir: string, images: TestImage[]): Promise<string[]> {
  const blobs = join(dir, 'blobs/sha256')
  await mkdir(blobs, { recursive: true })
  const put = async (bytes: Buffer) => {
    const digest = sha256(bytes)
    await writeFile(join(blobs, digest.slice('sha256:'.length)), bytes)
    return { digest, size: bytes.length }
  }
  const putJson = (value: unknown) => put(Buffer.from(JSON.stringify(value)))
  const manifests = []
  for (const image of images) {
    const layers = []
    for (const { tar, packed } of image.layers) {
      const bytes = packed === 'gzip' ? gzipSync(tar) : packed === 'zstd' ? zstdCompressSync(tar) : tar
      const mediaType = `application/vnd.oci.image.layer.v1.tar${packed ? `+${packed}` : ''}`
      layers.push({ mediaType, ...(await put(bytes)) })
    }
    const platform = { architecture: image.architecture ?? 'amd64', os: 'linux' }
    const diffIds = image.diffIds ?? image.layers.map(({ tar }) => sha256(tar))
    const config = await putJson({
      ...platform,
      config: image.config ?? {},
      rootfs: { type: 'layers', diff_ids: diffIds },
    })
    const mediaType = 'application/vnd.oci.image.manifest.v1+json'
    const configType = 'application/vnd.oci.image.config.v1+json'
    const manifest = await putJson({
      schemaVersion: 2,
      mediaType,
      config: { mediaType: configType, ...config },
      layers,
    })
    const annotations = image.name === undefined ? {} : { 'org.opencontainers.image.ref.name': image.name }
    manifests.push({ mediaType, ...manifest, platform, annotations })
  }
  await writeFile(join(dir, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
  await writeFile(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  return manifests.map((manifest) => manifest.digest)
}
