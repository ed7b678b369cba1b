import { CoppiceError, type ImageConfig } from '@coppice/protocol/wire'
import { z } from 'zod'
import { badArchive } from '../faults.ts'
import { MAX_JSON_BYTES } from './blobs.ts'

/** Media types that are written. */
export const MediaType = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
} as const

/** Docker's names for the same things, which are read. */
const MANIFEST_TYPES: readonly string[] = [MediaType.manifest, 'application/vnd.docker.distribution.manifest.v2+json']
const INDEX_TYPES: readonly string[] = [MediaType.index, 'application/vnd.docker.distribution.manifest.list.v2+json']

/** What a registry is asked for. */
export const MANIFEST_ACCEPT = [...MANIFEST_TYPES, ...INDEX_TYPES].join(', ')

/** The annotation that carries an image's name in an index. */
export const REF_NAME = 'org.opencontainers.image.ref.name'
/** Where an image came from, in the store's own index. */
export const SOURCE = 'dev.coppice.image.source'
/** Which registries have it, in the store's own index: references with commas between. */
export const PLACES = 'dev.coppice.image.places'
/** Archives that it came from, in the store's own index: JSON, see `KnownArchive`. */
export const ARCHIVES = 'dev.coppice.image.archives'
/** When it was put into the store, Unix milliseconds, in the store's own index. */
export const IMPORTED_AT = 'dev.coppice.image.imported-at'

const DigestSchema = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'only sha256 digests are read')

const DescriptorSchema = z.looseObject({
  mediaType: z.string(),
  digest: DigestSchema,
  size: z.int().nonnegative(),
  annotations: z.record(z.string(), z.string()).optional(),
  platform: z.looseObject({ architecture: z.string(), os: z.string() }).optional(),
})
export type Descriptor = z.infer<typeof DescriptorSchema>

const IndexSchema = z.looseObject({ schemaVersion: z.literal(2), manifests: z.array(DescriptorSchema) })
export type Index = z.infer<typeof IndexSchema>

const ManifestSchema = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.string().optional(),
  config: DescriptorSchema,
  layers: z.array(DescriptorSchema).max(512),
})
export type Manifest = z.infer<typeof ManifestSchema>

const StringsSchema = z.array(z.string()).nullish()
const ConfigBlobSchema = z.looseObject({
  architecture: z.string().default('unknown'),
  os: z.string().default('linux'),
  created: z.string().nullish(),
  config: z
    .looseObject({
      Env: StringsSchema,
      User: z.string().nullish(),
      WorkingDir: z.string().nullish(),
      Entrypoint: StringsSchema,
      Cmd: StringsSchema,
      Labels: z.record(z.string(), z.string()).nullish(),
    })
    .nullish(),
  rootfs: z.looseObject({ type: z.literal('layers'), diff_ids: z.array(DigestSchema).max(512) }),
})
/** The configuration blob of an OCI image. */
export type ConfigBlob = z.infer<typeof ConfigBlobSchema>

const LAYER_TYPE =
  /^application\/vnd\.(oci\.image\.layer\.v1\.tar(\+gzip|\+zstd)?|docker\.image\.rootfs\.diff\.tar(\.gzip|\.zstd)?)$/

/** Throws `unsupported/layer_type` for layers that cannot be unpacked: encrypted ones, foreign ones, no layers at all. */
export function checkLayerTypes(layers: Descriptor[]): void {
  for (const { mediaType } of layers) {
    if (LAYER_TYPE.test(mediaType)) continue
    throw new CoppiceError('unsupported', 'layer_type', `Layers of type ${mediaType} cannot be unpacked here.`)
  }
}

export const isIndex = (descriptor: Descriptor): boolean => INDEX_TYPES.includes(descriptor.mediaType)
export const isManifest = (descriptor: Descriptor): boolean => MANIFEST_TYPES.includes(descriptor.mediaType)

/** Each throws `invalid_argument/malformed_image` and names what it was reading. */
export const parseIndex = (bytes: Buffer, what: string): Index => parseJson(IndexSchema, bytes, what)
export const parseManifest = (bytes: Buffer, what: string): Manifest => parseJson(ManifestSchema, bytes, what)
export const parseConfig = (bytes: Buffer, what: string): ConfigBlob => parseJson(ConfigBlobSchema, bytes, what)

/** What is told of what is wrong with one file. */
const MAX_ISSUES = 5

/** Throws `invalid_argument/malformed_image` for a config that is too large to be read, before it is brought in. */
export function checkConfigSize({ config }: Manifest): void {
  if (config.size <= MAX_JSON_BYTES) return
  throw badArchive('malformed_image', `The image's config has ${config.size} bytes, which is too large.`, {
    limit: MAX_JSON_BYTES,
  })
}

/** JSON from outside. Throws `invalid_argument/malformed_image`. */
export function parseJson<T>(schema: z.ZodType<T>, bytes: Buffer, what: string): T {
  try {
    return schema.parse(JSON.parse(bytes.toString('utf8')))
  } catch (cause) {
    // Each of 100,000 layers may have something wrong with it.
    const detail =
      cause instanceof z.ZodError ? z.prettifyError({ issues: cause.issues.slice(0, MAX_ISSUES) }) : String(cause)
    throw badArchive('malformed_image', `${what} cannot be read: ${detail}`)
  }
}

/** What an image says about its programs, in the protocol's words. */
export function toImageConfig(blob: ConfigBlob): ImageConfig {
  const config = blob.config ?? {}
  const env: Record<string, string> = {}
  for (const assignment of config.Env ?? []) {
    const equals = assignment.indexOf('=')
    if (equals > 0) env[assignment.slice(0, equals)] = assignment.slice(equals + 1)
  }
  return {
    env,
    cwd: config.WorkingDir || '/',
    user: config.User ?? '',
    entrypoint: config.Entrypoint ?? [],
    cmd: config.Cmd ?? [],
    labels: config.Labels ?? {},
  }
}

/** The OCI names for the protocol's words; empty fields are left out. */
export function fromImageConfig(config: ImageConfig): NonNullable<ConfigBlob['config']> {
  return {
    ...(Object.keys(config.env).length > 0 && {
      Env: Object.entries(config.env).map(([key, value]) => `${key}=${value}`),
    }),
    ...(config.user !== '' && { User: config.user }),
    ...(config.cwd !== '/' && { WorkingDir: config.cwd }),
    ...(config.entrypoint.length > 0 && { Entrypoint: config.entrypoint }),
    ...(config.cmd.length > 0 && { Cmd: config.cmd }),
    ...(Object.keys(config.labels).length > 0 && { Labels: config.labels }),
  }
}

/** The architecture of this process in OCI's words. */
export function hostArchitecture(): string {
  return { x64: 'amd64', ia32: '386' }[process.arch as string] ?? process.arch
}
