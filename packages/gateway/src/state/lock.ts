import { spawnSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { CoppiceError } from '@coppice/protocol'

/** A lock that is held until `release` or the death of this process, whichever is first. */
export interface HeldLock {
  release(): void
}

/**
 * Takes the lock of a home. `flock(1)` locks the open file that it inherits, so the lock is this process's own and the
 * kernel ends it with the process: there is no stale lock to clean up.
 *
 * @throws `already_exists/gateway_running` when another process has it, `unavailable/flock_missing` without util-linux.
 */
export function takeLock(path: string): HeldLock {
  const fd = openSync(path, 'a', 0o600)
  const run = spawnSync('flock', ['--nonblock', '--exclusive', '3'], { stdio: ['ignore', 'ignore', 'pipe', fd] })
  if (run.status === 0) return { release: () => closeSync(fd) }
  closeSync(fd)
  if (run.status === 1) {
    throw new CoppiceError('already_exists', 'gateway_running', 'Another gateway holds this COPPICE_HOME.', {
      facts: { lock: path },
      hint: 'coppice gateway status',
    })
  }
  throw new CoppiceError('unavailable', 'flock_missing', 'The lock of COPPICE_HOME could not be taken with flock(1).', {
    facts: { lock: path, error: run.error?.message ?? run.stderr?.toString().trim() },
    hint: 'apt-get install util-linux',
  })
}
