import { z } from 'zod'
import { ImageInfoSchema } from '../image.ts'
import { flag, type Route } from './route.ts'

const reference = z.string().min(1).max(512)
const registryHost = z
  .string()
  .max(255)
  .regex(/^[A-Za-z0-9.:[\]_-]+$/, 'not a host')
const platform = z.string().max(64).optional().describe("`linux/arm64`. Default: this machine's.")

/** The content store. */
export const imageRoutes = [
  {
    id: 'listImages',
    method: 'GET',
    path: '/v1/images',
    summary: 'Images in the store.',
    answer: z.object({
      images: z.array(ImageInfoSchema),
      skipped: z.array(z.object({ name: z.string(), reason: z.string() })),
    }),
  },
  {
    id: 'importImage',
    method: 'POST',
    path: '/v1/images/import',
    summary: 'Import an archive as it comes: a root file system, an OCI archive, what `docker save` writes.',
    query: z.object({
      name: reference.optional().describe('Default: the name in the archive.'),
      fallbackName: reference.optional().describe('For an archive that has no name in it, where `name` is absent.'),
      format: z.enum(['auto', 'oci-archive', 'docker-archive', 'rootfs']).optional(),
      ref: reference.optional().describe('Which image, where the archive holds several.'),
      platform,
    }),
    body: 'bytes',
    answer: 'events',
  },
  {
    id: 'knownArchive',
    method: 'POST',
    path: '/v1/images/import/known',
    summary: 'Whether an image came from an archive before, so that its bytes need not be sent again.',
    body: z.object({
      size: z.int().nonnegative().describe('Bytes of the archive.'),
      tail: z
        .string()
        .regex(/^[0-9a-f]{64}$/)
        .describe('Hex sha256 of its last 64 KiB, or of all of it when it is shorter.'),
      digest: z
        .string()
        .regex(/^sha256:[0-9a-f]{64}$/)
        .optional()
        .describe('Of all its bytes. Without it nothing is done: `known` says whether it is worth to compute it.'),
      name: reference.optional(),
      fallbackName: reference.optional(),
      format: z.enum(['auto', 'oci-archive', 'docker-archive', 'rootfs']).optional(),
      ref: reference.optional(),
      platform,
    }),
    answer: z.object({
      known: z.boolean(),
      image: ImageInfoSchema.optional().describe('With `digest`: the image, under the name that an import gives it.'),
    }),
  },
  {
    id: 'exportImage',
    method: 'GET',
    path: '/v1/images/export',
    summary: 'An image as an archive.',
    query: z.object({
      ref: reference,
      format: z.enum(['oci-archive', 'docker-archive']).optional(),
      name: reference.optional(),
    }),
    answer: 'bytes',
  },
  {
    id: 'pullImage',
    method: 'POST',
    path: '/v1/images/pull',
    summary: 'Bring an image in from a registry or from an engine of this machine.',
    body: z.object({
      source: z.string().min(1).max(1024).describe('A registry reference, `docker-daemon:REF`, `podman:REF`.'),
      name: reference.optional().describe('Default: the reference as it was given.'),
      platform,
    }),
    answer: 'events',
  },
  {
    id: 'pushImage',
    method: 'POST',
    path: '/v1/images/push',
    summary: 'Send an image to a registry, an engine or into a container; only what is missing there.',
    body: z.object({
      ref: z
        .string()
        .min(1)
        .max(1024)
        .describe('An image of the store; for a container also `docker-daemon:REF`, `podman:REF`.'),
      target: z
        .string()
        .min(1)
        .max(1024)
        .describe('A registry reference, `docker-daemon:REF`, `podman:REF`, `container:NAME[:/DIR]`.'),
      importCommand: z
        .string()
        .min(1)
        .max(4096)
        .optional()
        .describe('Run in the container; `{file}` is the staged file.'),
    }),
    answer: 'events',
  },
  {
    id: 'buildImage',
    method: 'POST',
    path: '/v1/images/build',
    summary: 'Build an image from a context (a tar) with the builder of an engine of this machine.',
    query: z.object({
      name: reference,
      dockerfile: z.string().min(1).max(1024).optional(),
      hidden: z
        .string()
        .regex(/^[12]$/)
        .optional()
        .describe(
          'Entries at the front of the context that steps do not see: the Dockerfile, then its ignore file. The rest is sorted as a walk finds it, in the form of GNU tar.',
        ),
      target: z.string().min(1).max(256).optional(),
      noCache: flag,
      buildArg: z
        .union([z.string(), z.array(z.string())])
        .optional()
        .describe('`NAME=VALUE`.'),
      registry: z
        .union([registryHost, z.array(registryHost).max(32)])
        .optional()
        .describe('Hosts that base images come from: a builder that does not ask by itself is told who asks there.'),
      secret: z
        .union([z.string(), z.array(z.string())])
        .optional()
        .describe(
          '`ID:BYTES` for each secret of the build: so many bytes stand in front of the context, in this order.',
        ),
    }),
    body: 'bytes',
    answer: 'events',
  },
  {
    id: 'pruneImages',
    method: 'POST',
    path: '/v1/images/prune',
    summary: 'Remove what no name and no sandbox needs.',
    answer: z.object({
      images: z.int(),
      blobs: z.int(),
      layers: z.int(),
      partials: z.int(),
      kept: z
        .int()
        .describe(
          'Images without a name that stay because an entry of the registry, which may need them, cannot be read.',
        ),
      bytes: z.number(),
    }),
  },
  {
    id: 'bootstrapImage',
    method: 'POST',
    path: '/v1/images/bootstrap',
    summary: 'Make the image `base`.',
    body: z.object({ force: z.boolean().default(false) }),
    answer: 'events',
  },
  {
    id: 'removeImage',
    method: 'DELETE',
    path: '/v1/images',
    summary: 'Remove an image and what only it used.',
    query: z.object({ ref: reference }),
    answer: 'none',
  },
] as const satisfies readonly Route[]
