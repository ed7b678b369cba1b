import { z } from 'zod'

export const NETWORK_MODES = ['none', 'public', 'allow', 'audit'] as const

/** `HOST`, `*.HOST`, `HOST:PORT`, an address, a CIDR, the last two with `:PORT` as well (IPv6 in brackets then). Parsed by the gateway. */
export const EgressRuleSchema = z.string().min(1).max(300)

export const NetworkPolicySchema = z
  .object({
    mode: z
      .enum(NETWORK_MODES)
      .default('public')
      .describe(
        'none: nothing. public: every public address, and what `allow` adds. allow: what `allow` lists. audit: every public address; what `allow` would have refused is recorded as such.',
      ),
    allow: z.array(EgressRuleSchema).max(1024).default([]),
  })
  .strict()
/** What a sandbox may reach outside. */
export type NetworkPolicy = z.output<typeof NetworkPolicySchema>

export const ChangeNetworkSchema = z
  .object({
    mode: z.enum(NETWORK_MODES).optional(),
    allow: z.array(EgressRuleSchema).max(1024).optional().describe('Replaces the list.'),
    add: z.array(EgressRuleSchema).max(1024).optional(),
    remove: z.array(EgressRuleSchema).max(1024).optional(),
  })
  .strict()
export type ChangeNetwork = z.output<typeof ChangeNetworkSchema>

export const EgressCountsSchema = z.object({
  open: z.int().describe('Connections now.'),
  connections: z.int().describe('Connections that were let through.'),
  denied: z.int().describe('Connections and names that were refused.'),
  failed: z.int().describe('Let through, but not reached.'),
  bytesOut: z.number().describe('From the sandbox.'),
  bytesIn: z.number().describe('To the sandbox.'),
})
/** Since the gateway started; the log has what was before. */
export type EgressCounts = z.output<typeof EgressCountsSchema>

export const NetworkStateSchema = z.object({
  policy: NetworkPolicySchema,
  transparent: z.boolean().describe('Programs that know no proxy are led through the session too.'),
  transparentDetail: z.string().describe('Why not, or on which ports.'),
  counts: EgressCountsSchema,
})
export type NetworkState = z.output<typeof NetworkStateSchema>

export const EGRESS_VERDICTS = ['allowed', 'denied', 'failed', 'audit'] as const

export const EgressRecordSchema = z.object({
  at: z.number().describe('Milliseconds since the epoch, when it was asked for.'),
  kind: z.enum(['connection', 'name']),
  exec: z.string().nullable().describe('Where known: programs tell it by the proxy credentials of their environment.'),
  via: z.enum(['http', 'connect', 'socks', 'transparent', 'dns']),
  name: z.string().nullable().describe('Name asked for; null for a bare address.'),
  address: z.string().nullable().describe('Address dialled; null when nothing was.'),
  port: z.int().nullable(),
  verdict: z.enum(EGRESS_VERDICTS).describe('audit: let through, but the allow-list alone would have refused it.'),
  rule: z.string().describe('The rule that decided, or why none could.'),
  bytesOut: z.number(),
  bytesIn: z.number(),
  endedAt: z.number().nullable().describe('Null: refused at once, still open, or the gateway was killed meanwhile.'),
  end: z.string().nullable().describe('closed, reset, idle, policy, session_lost, limit, …'),
  times: z.int().positive().optional().describe('How many equal ones this line stands for; one when absent.'),
})
/** One line of `logs --egress`. */
export type EgressRecord = z.output<typeof EgressRecordSchema>

export const NetworkSuggestionSchema = z.object({
  present: NetworkPolicySchema,
  suggested: NetworkPolicySchema,
  add: z.array(z.string()),
  remove: z.array(z.string()).describe('Rules that nothing used.'),
  basedOn: z.int().describe('Records looked at.'),
})
/** The smallest allow-list that would have allowed what was used. */
export type NetworkSuggestion = z.output<typeof NetworkSuggestionSchema>

export const ListeningPortSchema = z.object({
  port: z.int(),
  address: z.string().describe('Address listened on, as the sandbox has it.'),
  process: z.string().nullable(),
})
export type ListeningPort = z.output<typeof ListeningPortSchema>

export const PreviewSchema = z.object({
  port: z.int(),
  url: z.string().describe('With the access token unless public.'),
  public: z.boolean(),
})
export type Preview = z.output<typeof PreviewSchema>

/** A port of a sandbox. */
export const PortSchema = z.coerce.number().int().min(1).max(65_535)

/** What the supervisor listens on for its sandbox's own programs. */
export const SupervisorNetworkSchema = z.object({
  proxyPort: z.int().describe('HTTP, CONNECT and SOCKS on 127.0.0.1; 0: any free one.'),
  dnsPort: z.int().nullable().describe('Resolver, UDP and TCP; null: none.'),
  intercepts: z
    .array(z.object({ port: z.int(), at: z.int() }))
    .max(64)
    .describe('Connections to `port` of an address of a name arrive at `at`, with their address unchanged.'),
})
export type SupervisorNetwork = z.output<typeof SupervisorNetworkSchema>

/** How a connection came to the supervisor. `http`: plain requests to the proxy, parsed by the gateway. */
export const EGRESS_VIAS = ['http', 'connect', 'socks', 'transparent'] as const

/**
 * Lines of JSON from a supervisor to its gateway, on the answer of `POST /egress`. `id`: chosen by the supervisor, positive,
 * never used twice on one stream. Nothing in them is trusted.
 */
export const EgressAskSchema = z.discriminatedUnion('t', [
  z.object({
    t: z.literal('open'),
    id: z.int().positive(),
    via: z.enum(EGRESS_VIAS),
    host: z.string().max(1024).describe('Name or address; empty for `http`.'),
    port: z.int().min(0).max(65_535),
    exec: z.string().max(64).nullable(),
  }),
  z.object({ t: z.literal('name'), id: z.int().positive(), name: z.string().max(1024) }),
  z.object({ t: z.literal('cancel'), id: z.int().positive() }),
])
export type EgressAsk = z.output<typeof EgressAskSchema>

/** Lines of JSON from the gateway to a supervisor, on the request body of `POST /egress`. The first one is `network`. */
export type EgressTell =
  | { t: 'network'; network: SupervisorNetwork }
  /** The connection was refused or could not be made. One that was made is told by its tunnel, `POST /egress/:id`. */
  | { t: 'refused'; id: number; error: EgressRefusal }
  | { t: 'name'; id: number; outcome: 'exists' | 'no_such_name' | 'denied' | 'failed'; message: string }

export interface EgressRefusal {
  /** denied: the policy. unreachable, refused, timeout, no_such_name: what came of the try. limit: too many. */
  kind: 'denied' | 'unreachable' | 'refused' | 'timeout' | 'no_such_name' | 'limit'
  rule: string
  /** One sentence. */
  message: string
  /** The command that would allow it. */
  hint: string
}
