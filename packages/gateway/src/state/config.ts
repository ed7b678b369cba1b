import { parseMirror, parseRegistryHost } from '@coppice/images'
import {
  CoppiceError,
  DEFAULT_BOUND_MS,
  DEFAULT_LEASE_MS,
  DEFAULT_MAX_CONNECTIONS,
  NetworkPolicySchema,
} from '@coppice/protocol'
import { readHomeFile } from '@coppice/protocol/home-file'
import { z } from 'zod'

const MiB = 1024 * 1024

/** Text that `parse` does not throw at. */
function by(parse: (text: string) => unknown): (context: z.core.ParsePayload<string>) => void {
  return ({ value, issues }) => {
    try {
      parse(value)
    } catch (error) {
      issues.push({ code: 'custom', input: value, message: (error as Error).message })
    }
  }
}

/** `COPPICE_HOME/config.json`. Every field has a default; an unknown field is an error, because it is a misspelt one. */
export const ConfigSchema = z
  .object({
    driver: z
      .string()
      .optional()
      .describe('Driver when none is named. Default: the first that works, in the order of `gateway status`.'),
    allowProcessDriver: z
      .boolean()
      .default(false)
      .describe('Offer the driver `process`, which isolates nothing. For development of Coppice itself.'),
    uidBase: z
      .int()
      .min(65_536)
      .max(4_000_000_000)
      .default(1_000_000)
      .describe('First host uid of the range that sandboxes are mapped to.'),
    maxSandboxes: z.int().min(1).default(1000).describe('More are refused with resource_exhausted.'),
    defaults: z
      .object({
        memoryMB: z.int().min(16).optional(),
        cpus: z.number().min(0.01).optional(),
        pids: z.int().min(16).optional(),
        network: NetworkPolicySchema.optional(),
      })
      .strict()
      .default({}),
    session: z
      .object({
        leaseMs: z
          .int()
          .min(50)
          .max(3_600_000)
          .default(DEFAULT_LEASE_MS)
          .describe('Silence after which a link is dead.'),
        boundMs: z
          .int()
          .min(100)
          .max(3_600_000)
          .default(DEFAULT_BOUND_MS)
          .describe('How long a call waits for the next session.'),
      })
      .strict()
      .prefault({}),
    egress: z
      .object({
        maxConnections: z
          .int()
          .min(1)
          .max(65_536)
          .default(DEFAULT_MAX_CONNECTIONS)
          .describe('Connections of one sandbox at one time.'),
        connectMs: z.int().min(100).default(10_000).describe('Milliseconds to reach an address.'),
        idleMs: z
          .int()
          .min(100)
          .default(15 * 60_000)
          .describe('Milliseconds without a byte after which a connection is cut.'),
        resolvers: z
          .array(z.string())
          .default([])
          .describe('Name servers, `ADDRESS` or `ADDRESS:PORT`. Default: those of this machine.'),
      })
      .strict()
      .prefault({}),
    registries: z
      .object({
        mirrors: z
          .record(z.string().check(by(parseRegistryHost)), z.array(z.string().check(by(parseMirror))).max(16))
          .default({})
          .describe('Where the images of a registry are looked for before it is asked itself, by its host.'),
        insecure: z
          .array(z.string().check(by(parseRegistryHost)))
          .default([])
          .describe('Hosts whose certificate is not checked, and that may speak plain HTTP.'),
      })
      .strict()
      .prefault({}),
    journal: z
      .object({
        memoryBytes: z.int().min(4096).default(MiB).describe('Output kept in memory, per exec.'),
        diskBytes: z
          .int()
          .min(0)
          .default(1024 * MiB)
          .describe('Output kept on disk, per exec.'),
      })
      .strict()
      .prefault({}),
    resultRetentionMs: z
      .int()
      .min(1000)
      .default(15 * 60_000)
      .describe('How long an exec result is kept after its end.'),
    endRecordRetentionMs: z
      .int()
      .min(1000)
      .default(7 * 86_400_000)
      .describe('How long an end record outlives its sandbox.'),
    endRecordLimit: z
      .int()
      .min(0)
      .default(20_000)
      .describe(
        'End records that are kept at most, the latest. Measured: 0.4 KiB of memory and 0.1 ms of a start each.',
      ),
  })
  .strict()

export type Config = z.output<typeof ConfigSchema>

/**
 * Reads the configuration. A missing file is the defaults.
 * @throws `invalid_argument/bad_config` that names the field, and what `readHomeFile` throws.
 */
export function readConfig(path: string): Config {
  const text = readHomeFile(path)
  if (text === undefined) return ConfigSchema.parse({})
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw badConfig(path, (error as Error).message)
  }
  const parsed = ConfigSchema.safeParse(value)
  if (!parsed.success) throw badConfig(path, z.prettifyError(parsed.error))
  return parsed.data
}

function badConfig(path: string, why: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'bad_config', `${path} is not a valid configuration: ${why}`, {
    facts: { path },
    hint: `Correct or remove ${path}; its fields are listed in docs/configuration.md`,
  })
}
