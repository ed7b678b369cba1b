import { CoppiceError, type EndRecord } from '@coppice/protocol'

/** An end record without what may be large in it. */
export function withoutOutput(end: EndRecord): EndRecord {
  return { ...end, lastOutput: '' }
}

/** An end record of now. */
export function endRecord(
  reason: EndRecord['reason'],
  message: string,
  more: Partial<Pick<EndRecord, 'exitCode' | 'lastOutput' | 'use'>> = {},
): EndRecord {
  return { reason, message, at: Date.now(), exitCode: null, lastOutput: '', use: null, ...more }
}

/** What calls that were waiting on a sandbox are told when it ends. */
export function endedError(id: string, end: EndRecord): CoppiceError {
  return new CoppiceError('unavailable', 'sandbox_ended', `Sandbox ${id} ended: ${end.message}`, {
    facts: { sandboxId: id, endReason: end.reason, end: { ...end, lastOutput: undefined } },
    retryable: false,
    hint: `coppice inspect ${id}`,
  })
}
