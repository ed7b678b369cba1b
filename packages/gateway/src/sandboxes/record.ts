import { EndRecordSchema, LabelsSchema, LimitsSchema, SandboxStateSchema } from '@coppice/protocol'
import { z } from 'zod'

/** What the registry keeps about one sandbox. The token never leaves the gateway and its sandbox. */
export const SandboxRecordSchema = z.looseObject({
  id: z.string(),
  name: z.string().nullable(),
  /** Idempotency key of the create call, and a hash of what it asked for. */
  key: z.string().nullable(),
  requestHash: z.string(),
  state: SandboxStateSchema,
  image: z.string(),
  imageDigest: z.string(),
  driver: z.string(),
  limits: LimitsSchema,
  env: z.record(z.string(), z.string()),
  labels: LabelsSchema,
  readOnlyRoot: z.boolean(),
  token: z.string(),
  createdAt: z.number(),
  startedAt: z.number().nullable(),
  removedAt: z.number().nullable(),
  end: EndRecordSchema.nullable(),
})

export type SandboxRecord = z.output<typeof SandboxRecordSchema>
