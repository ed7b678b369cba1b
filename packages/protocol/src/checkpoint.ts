import { z } from 'zod'
import { isCheckpointId } from './ids.ts'
import { LimitsSchema, NameSchema } from './sandbox.ts'

export const CreateCheckpointSchema = z
  .object({
    name: NameSchema.refine((name) => !isCheckpointId(name), 'it has the form of an id')
      .optional()
      .describe('Unique among checkpoints.'),
    key: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe('Idempotency key: the same key never makes two checkpoints, as long as the first is there.'),
  })
  .strict()
export type CreateCheckpointRequest = z.input<typeof CreateCheckpointSchema>

export const CheckpointInfoSchema = z.object({
  id: z.string(),
  name: z.string().nullable(),
  kind: z.enum(['filesystem']).describe('What was saved: the files.'),
  sandboxId: z.string().describe('What it was saved from, which may be gone.'),
  sandboxName: z.string().nullable(),
  image: z.string().describe('What that sandbox was made from.'),
  imageDigest: z.string().describe('The image that holds what was saved, on top of that one.'),
  driver: z.string().describe('What saved it. Every driver makes sandboxes from it.'),
  limits: LimitsSchema.describe('Of the sandbox, when it was saved.'),
  createdAt: z.number(),
  sizeBytes: z.number().describe('Of what differs from the image, not packed.'),
})
/** A saved sandbox. */
export type CheckpointInfo = z.output<typeof CheckpointInfoSchema>
