import { type CheckpointInfo, type CreateCheckpointRequest, LimitsSchema, newCheckpointId } from '@coppice/protocol'
import { z } from 'zod'
import type { SandboxRecord } from '../sandboxes/record.ts'

/** What the registry keeps about one checkpoint. */
export const CheckpointRecordSchema = z.looseObject({
  id: z.string(),
  name: z.string().nullable(),
  /** Idempotency key of the call. Entries from before there were keys have none. */
  key: z.string().nullable().default(null),
  /** creating: the intent. Whoever finds it without its creator takes it back. */
  state: z.enum(['creating', 'ready']),
  kind: z.enum(['filesystem']),
  sandboxId: z.string(),
  sandboxName: z.string().nullable(),
  image: z.string(),
  /** Empty while it is being made. */
  imageDigest: z.string(),
  driver: z.string(),
  limits: LimitsSchema,
  createdAt: z.number(),
  sizeBytes: z.number(),
})

export type CheckpointRecord = z.output<typeof CheckpointRecordSchema>

/** The record of a checkpoint that is about to be made: the intent. */
export function newCheckpointRecord(sandbox: SandboxRecord, asked: CreateCheckpointRequest): CheckpointRecord {
  const { id: sandboxId, name: sandboxName, image, driver, limits } = sandbox
  return {
    id: newCheckpointId(),
    name: asked.name ?? null,
    key: asked.key ?? null,
    state: 'creating',
    kind: 'filesystem',
    sandboxId,
    sandboxName,
    image,
    imageDigest: '',
    driver,
    limits,
    createdAt: Date.now(),
    sizeBytes: 0,
  }
}

/** A record as clients see it. */
export function checkpointInfo(record: CheckpointRecord): CheckpointInfo {
  const { id, name, kind, sandboxId, sandboxName, image, imageDigest, driver, limits, createdAt, sizeBytes } = record
  return { id, name, kind, sandboxId, sandboxName, image, imageDigest, driver, limits, createdAt, sizeBytes }
}
