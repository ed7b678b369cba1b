import type { EgressRefusal } from '@coppice/protocol'

/** How a try ended that was let through by the policy. */
export type FailureKind = Exclude<EgressRefusal['kind'], 'denied' | 'limit'>

/** HTTP status of a refusal, as the programs inside see it. */
export function refusalStatus(kind: EgressRefusal['kind']): number {
  if (kind === 'denied') return 403
  if (kind === 'limit') return 503
  return kind === 'timeout' ? 504 : 502
}
