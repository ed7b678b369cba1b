import { EndRecordSchema, LabelsSchema, LimitsSchema, NetworkPolicySchema, SandboxStateSchema } from '@coppice/protocol'
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
  /** Limits that are being put into force. A gateway that finds them goes on with that. */
  resizing: LimitsSchema.nullable().default(null),
  env: z.record(z.string(), z.string()),
  labels: LabelsSchema,
  readOnlyRoot: z.boolean(),
  /** Entries from before networks have none. */
  network: NetworkPolicySchema.default({ mode: 'none', allow: [] }),
  publicPorts: z.array(z.int()).default([]),
  /** Ports that programs without a proxy are served on. Only ever appended to: the place in the list is the port inside. */
  interceptPorts: z.array(z.int()).default([]),
  /** What came of the driver's `intercept`. */
  transparent: z.object({ ok: z.boolean(), detail: z.string() }).default({ ok: false, detail: 'It was made before.' }),
  /** Of what was asked, see config-hash.ts. Empty: made before there was one. */
  configHash: z.string().default(''),
  token: z.string(),
  createdAt: z.number(),
  startedAt: z.number().nullable(),
  removedAt: z.number().nullable(),
  end: EndRecordSchema.nullable(),
})

export type SandboxRecord = z.output<typeof SandboxRecordSchema>
