import { z } from 'zod'
import { SupervisorNetworkSchema } from './network.ts'

/** First line of a session, from the supervisor. */
export const SessionHelloSchema = z.object({
  coppice: z.literal('session'),
  versions: z.array(z.int().positive()).min(1).max(16),
  sandboxId: z.string().max(64),
  token: z.string().max(128),
  bootId: z.string().max(64).describe('New for each start of the supervisor.'),
  supervisorVersion: z.string().max(64),
})
export type SessionHello = z.infer<typeof SessionHelloSchema>

/** First line back, from the gateway. */
export const SessionWelcomeSchema = z.union([
  z.object({ ok: z.literal(true), version: z.int().positive(), leaseMs: z.int().positive() }),
  z.object({ ok: z.literal(false), error: z.record(z.string(), z.unknown()) }),
])
export type SessionWelcome = z.infer<typeof SessionWelcomeSchema>

/** `/.coppice-run/sandbox.json`: everything that a supervisor must know. Readable by the sandbox's root alone. */
export const SupervisorConfigSchema = z.object({
  sandboxId: z.string(),
  token: z.string(),
  leaseMs: z.int().positive(),
  boundMs: z.int().positive(),
  defaults: z.object({
    env: z.record(z.string(), z.string()),
    cwd: z.string(),
    user: z.string(),
  }),
  journal: z.object({
    memoryBytes: z.int().positive().describe('Per exec. Default 1 MiB.'),
    diskBytes: z.int().nonnegative().describe('Per exec. Default 1 GiB.'),
  }),
  resultRetentionMs: z.int().positive().describe('At least 10 min in production.'),
  network: SupervisorNetworkSchema.nullable()
    .default(null)
    .describe('Null: nothing is offered; the sandbox has no way out.'),
  drainMs: z.int().nonnegative().describe('How long the result waits for pipes held by background children: 250.'),
})
export type SupervisorConfig = z.infer<typeof SupervisorConfigSchema>

/** `GET /info` on a session. */
export const SupervisorInfoSchema = z.object({
  version: z.string(),
  bootId: z.string(),
  pid: z.int(),
  startedAt: z.number(),
  residentBytes: z.number(),
  openFiles: z.int(),
  openStreams: z.int(),
  execs: z.object({ running: z.int(), held: z.int() }),
  journalMemoryBytes: z.number(),
  killScope: z.enum(['cgroup-v1', 'cgroup-v2', 'subreaper']),
})
export type SupervisorInfo = z.infer<typeof SupervisorInfoSchema>
