import { z } from 'zod'
import { EnvSchema } from './exec.ts'
import { NetworkPolicySchema } from './network.ts'

export const NameSchema = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$/i, 'letters, digits, ".", "_", "-"; starts and ends with a letter or digit')

export const LabelsSchema = z.record(z.string().min(1).max(128), z.string().max(1024))

const MemorySchema = z.int().min(16).max(16_777_216).describe('MiB of memory, page cache included.')
const CpusSchema = z.number().min(0.01).max(4096).describe('Cores, fractions allowed.')
const PidsSchema = z.int().min(16).max(4_194_304).describe('Processes and threads together.')

export const LimitsSchema = z.object({
  memoryMB: MemorySchema.default(1024),
  cpus: CpusSchema.default(1),
  pids: PidsSchema.default(4096),
})
export type Limits = z.output<typeof LimitsSchema>

export const ResizeSandboxSchema = z
  .object({ memoryMB: MemorySchema.optional(), cpus: CpusSchema.optional(), pids: PidsSchema.optional() })
  .strict()
  .refine((change) => Object.values(change).some((value) => value !== undefined), 'give memoryMB, cpus or pids')
/** Limits that are to be others; absent ones stay as they are. */
export type ResizeSandbox = z.output<typeof ResizeSandboxSchema>

export const CreateSandboxSchema = z
  .object({
    from: z.string().min(1).max(1024).default('base').describe('An image of the store, or a checkpoint.'),
    name: NameSchema.optional().describe('Unique among sandboxes that exist.'),
    key: z.string().min(1).max(256).optional().describe('Idempotency key: the same key never creates two sandboxes.'),
    driver: z.string().max(64).optional(),
    ...LimitsSchema.shape,
    env: EnvSchema.default({}),
    labels: LabelsSchema.default({}),
    readOnlyRoot: z.boolean().default(false),
    network: NetworkPolicySchema.prefault({}),
  })
  .strict()
export type CreateSandboxRequest = z.input<typeof CreateSandboxSchema>
export type ResolvedCreateSandbox = z.output<typeof CreateSandboxSchema>

export const SANDBOX_STATES = [
  'creating',
  'starting',
  'running',
  'stopping',
  'stopped',
  'failed',
  'removing',
  'removed',
] as const
export const SandboxStateSchema = z.enum(SANDBOX_STATES)
export type SandboxState = z.infer<typeof SandboxStateSchema>

export const ResourceUseSchema = z.object({
  memoryBytes: z.number().nullable(),
  memoryPeakBytes: z.number().nullable(),
  memoryLimitBytes: z.number().nullable(),
  cpuSeconds: z.number().nullable(),
  pids: z.number().nullable(),
  pidsLimit: z.number().nullable(),
  cpusLimit: z.number().nullable().default(null).describe('Cores.'),
  oomKills: z.number().nullable(),
  at: z.number(),
})
export type ResourceUse = z.infer<typeof ResourceUseSchema>

export const END_REASONS = [
  'stopped',
  'removed',
  'exited',
  'killed',
  'oom_killed',
  'host_rebooted',
  'vanished',
  'start_failed',
  'gateway_interrupted',
] as const

export const EndRecordSchema = z.object({
  reason: z.enum(END_REASONS),
  message: z.string().describe('One sentence.'),
  at: z.number(),
  exitCode: z.int().nullable(),
  lastOutput: z
    .string()
    .describe('The last output seen, at most 64 KiB, not UTF-8 replaced. Empty for a removed one in a list.'),
  use: ResourceUseSchema.nullable(),
})
/** What is kept about a sandbox after an end: 7 days after its removal, of the last 20,000, unless configured. */
export type EndRecord = z.infer<typeof EndRecordSchema>

export const SandboxInfoSchema = z.object({
  id: z.string(),
  name: z.string().nullable(),
  state: SandboxStateSchema,
  connected: z.boolean().describe('A session is up.'),
  image: z.string(),
  imageDigest: z.string(),
  driver: z.string(),
  limits: LimitsSchema,
  env: z.record(z.string(), z.string()),
  labels: LabelsSchema,
  readOnlyRoot: z.boolean(),
  network: NetworkPolicySchema,
  publicPorts: z.array(z.int()).describe('Ports whose preview needs no token.'),
  createdAt: z.number(),
  startedAt: z.number().nullable(),
  end: EndRecordSchema.nullable().describe('The latest end, also of a sandbox that was started again.'),
})
export type SandboxInfo = z.output<typeof SandboxInfoSchema>

export const SandboxInspectionSchema = SandboxInfoSchema.extend({
  configHash: z.string().describe('Of what was asked: image, driver, limits, names in the environment, network, root.'),
  actual: z
    .object({ state: z.enum(['running', 'stopped', 'gone']), limits: LimitsSchema.partial() })
    .nullable()
    .describe('What the driver has. Null: it could not be asked.'),
  drift: z.array(z.string()).describe('What differs between asked and actual, one sentence each.'),
})
export type SandboxInspection = z.output<typeof SandboxInspectionSchema>

export const GatewayStatusSchema = z.object({
  pid: z.int(),
  url: z.string(),
  version: z.string(),
  home: z.string(),
  startedAt: z.number(),
  residentBytes: z.number(),
  sandboxes: z.object({ total: z.int(), running: z.int(), connected: z.int() }),
  drivers: z.array(
    z.object({
      name: z.string(),
      available: z.boolean(),
      default: z.boolean(),
      detail: z.string(),
      capabilities: z.record(z.string(), z.unknown()).nullable(),
    }),
  ),
})
export type GatewayStatus = z.infer<typeof GatewayStatusSchema>
