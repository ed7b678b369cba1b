import { z } from 'zod'

export const ImageConfigSchema = z.object({
  env: z.record(z.string(), z.string()).default({}),
  cwd: z.string().default('/'),
  user: z.string().default(''),
  entrypoint: z.array(z.string()).default([]),
  cmd: z.array(z.string()).default([]),
  labels: z.record(z.string(), z.string()).default({}),
})

/** What an image says about how programs run in it. */
export type ImageConfig = z.output<typeof ImageConfigSchema>

export const ImageInfoSchema = z.object({
  name: z.string().describe('As people call it: `base`, `my/app:1`.'),
  digest: z.string().describe("`sha256:` of the image's manifest."),
  architecture: z.string(),
  os: z.string(),
  sizeBytes: z.number().describe('Of all blobs together.'),
  layers: z.int(),
  createdAt: z.number(),
  source: z.string().describe('Where it came from: a file, `bootstrap`.'),
  config: ImageConfigSchema,
})

export type ImageInfo = z.output<typeof ImageInfoSchema>
