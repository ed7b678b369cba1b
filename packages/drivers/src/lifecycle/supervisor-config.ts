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
