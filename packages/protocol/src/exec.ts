import { z } from 'zod'

/** No NUL: the kernel would cut the string there. */
const text = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[^\0]*$/, 'must not contain NUL')

/** Longest argv or environment together is the kernel's 2 MiB; one string of it 128 KiB. */
const argument = text(131_071)

export const EnvSchema = z
  .record(
    z
      .string()
      .min(1)
      .max(4096)
      .regex(/^[^=\0]+$/, 'names have no "=" and no NUL'),
    argument,
  )
  .describe('Environment variables. They are added to those of the image.')

export const ExecSpecSchema = z
  .object({
    id: z
      .string()
      .regex(/^ex-[0-9a-z]{16}$/)
      .optional()
      .describe('Chosen by the caller, or by the gateway.'),
    key: z
      .string()
      .min(1)
      .max(256)
      .optional()
      .describe('Idempotency key: the same key never runs twice in one sandbox. Generated when absent.'),
    argv: z.array(argument).min(1).max(16_384).optional().describe('Program and arguments, no shell involved.'),
    shell: argument.optional().describe('A command line for `/bin/sh -c`. Either this or argv.'),
    env: EnvSchema.optional(),
    cwd: text(4096).optional().describe("Working directory. Default: the image's, else /."),
    user: text(256).optional().describe("User name or uid, optionally `:group`. Default: the image's, else root."),
    stdin: z.enum(['none', 'stream']).default('none'),
    pty: z
      .object({
        cols: z.int().min(1).max(10_000).default(80),
        rows: z.int().min(1).max(10_000).default(24),
        term: text(64).default('xterm-256color'),
      })
      .optional()
      .describe('Run on a terminal. Output is one stream, stdin is always a stream.'),
    timeoutMs: z.int().min(1).max(2_147_483_647).optional().describe('After this the whole process tree is ended.'),
    graceMs: z.int().min(0).max(600_000).default(2_000).describe('Between TERM and KILL.'),
    journal: z
      .enum(['spill', 'block'])
      .default('spill')
      .describe('spill: never wait for a reader. block: the program waits for the reader that started it.'),
    tied: z.boolean().default(false).describe('End the exec when the client that started it goes away.'),
  })
  .strict()
  .refine((spec) => (spec.argv === undefined) !== (spec.shell === undefined), 'give either argv or shell')

/** What a caller asks to run. */
export type ExecSpec = z.input<typeof ExecSpecSchema>
/** The same with defaults filled in. */
export type ResolvedExecSpec = z.output<typeof ExecSpecSchema>

export const ExecResultSchema = z.object({
  exitCode: z.int().nullable().describe('The exit status, or null when a signal ended the program.'),
  signal: z.string().nullable().describe('`SIGKILL` and the like, or null.'),
  timedOut: z.boolean().describe('True when timeoutMs ended it.'),
  oomKilled: z
    .union([z.boolean(), z.literal('probable')])
    .describe("From the exec's own memory cgroup; `probable` where there is none and the sandbox saw an OOM kill."),
  startedAt: z.number().describe('Unix time, milliseconds.'),
  endedAt: z.number(),
  stdoutBytes: z.number().describe('Bytes written, whether still held or not.'),
  stderrBytes: z.number(),
})

/** How an exec ended. It is only ever made from a real wait status. */
export type ExecResult = z.infer<typeof ExecResultSchema>

const ErrorBodySchema = z.object({
  code: z.string(),
  reason: z.string(),
  message: z.string(),
  retryable: z.boolean(),
  facts: z.record(z.string(), z.unknown()).optional(),
  hint: z.string().optional(),
})

export const ExecInfoSchema = z.object({
  id: z.string(),
  key: z.string(),
  argv: z.array(z.string()),
  cwd: z.string(),
  user: z.string(),
  pty: z.boolean(),
  pid: z.int().nullable().describe('As the sandbox sees it; null once it ended.'),
  state: z.enum(['running', 'exited', 'lost']).describe('lost: its supervisor died with it; there is no exit status.'),
  startedAt: z.number(),
  outputStart: z.number().describe('First journal offset that can still be read.'),
  outputEnd: z.number().describe('Journal offset after the last byte so far.'),
  stdinAcknowledged: z.number().describe('Bytes of stdin that the supervisor has.'),
  result: ExecResultSchema.nullable(),
  error: ErrorBodySchema.nullable().describe('Why there is no result: `exec_lost`.'),
})

/** One exec as listings show it. */
export type ExecInfo = z.infer<typeof ExecInfoSchema>

export const SignalSchema = z.object({
  signal: z
    .string()
    .regex(/^(SIG)?[A-Z0-9+-]{1,10}$/)
    .default('TERM'),
  tree: z.boolean().default(false).describe('Every descendant, not only the process group. Always so for KILL.'),
})

export const ResizeSchema = z.object({ cols: z.int().min(1).max(10_000), rows: z.int().min(1).max(10_000) })

export type SignalRequest = z.input<typeof SignalSchema>
export type ResizeRequest = z.infer<typeof ResizeSchema>
