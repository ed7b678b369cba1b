import type { EndRecord } from '@coppice/protocol'

/** An end record of now. */
export function endRecord(
  reason: EndRecord['reason'],
  message: string,
  more: Partial<Pick<EndRecord, 'exitCode' | 'lastOutput' | 'use'>> = {},
): EndRecord {
  return { reason, message, at: Date.now(), exitCode: null, lastOutput: '', use: null, ...more }
}
