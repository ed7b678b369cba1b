import { CoppiceError, type EndRecord } from '@coppice/protocol'
import type { SandboxRecord } from './record.ts'

/** An end record without what may be large in it. */
export function withoutOutput(end: EndRecord): EndRecord {
  return { ...end, lastOutput: '' }
}

/** The longest message of an end that is kept in memory, characters. */
const MESSAGE_LENGTH = 300

/** What is kept in memory of a removed sandbox. */
export interface Ended {
  id: string
  key: string | null
  /** Unix time in milliseconds. */
  removedAt: number
  end: Pick<EndRecord, 'reason' | 'message' | 'at' | 'exitCode'> | null
}

/** What is kept in memory of a removed sandbox, and nothing that holds on to the rest of its record. */
export function endedOf(record: SandboxRecord): Ended {
  const { id, key, removedAt, end } = record
  if (!end) return { id, key, removedAt: removedAt ?? 0, end }
  const { reason, message, at, exitCode } = end
  // A part of a string keeps the whole of it.
  const short =
    message.length > MESSAGE_LENGTH ? `${Buffer.from(message.slice(0, MESSAGE_LENGTH)).toString()}…` : message
  return { id, key, removedAt: removedAt ?? 0, end: { reason, message: short, at, exitCode } }
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
