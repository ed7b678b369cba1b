import { chownSync, closeSync, fchmodSync, openSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { SupervisorConfig } from '@coppice/protocol/wire'

/** Writes `sandbox.json`, which holds the session's token, so that only the sandbox's root can read it. Atomic. */
export function writeSupervisorConfig(runDir: string, config: SupervisorConfig, owner: number): void {
  const temporary = join(runDir, 'sandbox.json.new')
  const file = openSync(temporary, 'w', 0o400)
  try {
    fchmodSync(file, 0o400)
    writeSync(file, JSON.stringify(config))
  } finally {
    closeSync(file)
  }
  chownSync(temporary, owner, owner)
  renameSync(temporary, join(runDir, 'sandbox.json'))
}

/** The configuration of a supervisor that is never started: a probe runs something else in its place. */
export function probeSupervisor(sandboxId: string): SupervisorConfig {
  return {
    sandboxId,
    token: '',
    leaseMs: 1,
    boundMs: 1,
    defaults: { env: {}, cwd: '/', user: '' },
    journal: { memoryBytes: 1, diskBytes: 0 },
    resultRetentionMs: 1,
    network: null,
    drainMs: 0,
  }
}
