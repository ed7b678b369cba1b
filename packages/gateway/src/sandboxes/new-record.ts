import { randomBytes } from 'node:crypto'
import { LimitsSchema, newSandboxId, type ResolvedCreateSandbox } from '@coppice/protocol'
import { configHash } from './config-hash.ts'
import { networkFields } from './networks.ts'
import type { SandboxRecord } from './record.ts'

/**
 * The record of a sandbox that is about to be created: the intent.
 * @throws `invalid_argument/bad_rule` for a rule of its network that cannot be read
 */
export function newRecord(
  request: ResolvedCreateSandbox,
  found: { requestHash: string; imageDigest: string; driver: string },
): SandboxRecord {
  const { memoryMB, cpus, pids } = request
  const asked = {
    ...found,
    limits: LimitsSchema.parse({ memoryMB, cpus, pids }),
    env: request.env,
    readOnlyRoot: request.readOnlyRoot,
    ...networkFields(request.network),
  }
  return {
    ...asked,
    id: newSandboxId(),
    name: request.name ?? null,
    key: request.key ?? null,
    state: 'creating',
    image: request.from,
    labels: request.labels,
    publicPorts: [],
    resizing: null,
    configHash: configHash(asked),
    token: randomBytes(24).toString('base64url'),
    createdAt: Date.now(),
    startedAt: null,
    removedAt: null,
    end: null,
  }
}
