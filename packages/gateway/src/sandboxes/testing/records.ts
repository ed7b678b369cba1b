import { CreateSandboxSchema } from '@coppice/protocol'
import { endRecord } from '../ends.ts'
import { newRecord } from '../new-record.ts'
import type { SandboxRecord } from '../record.ts'

/** The record of a sandbox that runs. */
export function runningRecord(changes: Partial<SandboxRecord> = {}): SandboxRecord {
  const made = newRecord(CreateSandboxSchema.parse({ from: 'base' }), {
    requestHash: 'f'.repeat(64),
    imageDigest: `sha256:${'5'.repeat(64)}`,
    driver: 'oci',
  })
  return { ...made, state: 'running', startedAt: made.createdAt, ...changes }
}

/** The same sandbox, removed. */
export function removedRecord(record: SandboxRecord, lastOutput: string): SandboxRecord {
  const end = endRecord('removed', 'It was removed on request.', { lastOutput })
  return { ...record, state: 'removed', removedAt: Date.now(), end }
}
