import { spawnSync } from 'node:child_process'
import { closeSync } from 'node:fs'
import { CoppiceError } from '@coppice/protocol'
import { openLockFile } from '@coppice/protocol/home-file'

/** What flock(1) is to end with when somebody else has the lock. It ends with 1 for other reasons too. */
const CONFLICT = 75

/** A lock that is held until `release` or the death of this process, whichever is first. */
export interface HeldLock {
  release(): void
}

/**
 * Takes the lock of a home. `flock(1)` locks the open file that it inherits, so the lock is this process's own and the
 * kernel ends it with the process: there is no stale lock to clean up.
 *
 * @throws `already_exists/gateway_running` when another process has it, `unavailable/flock_missing` without util-linux,
 * `unavailable/lock_failed` on a file system without locks, and what `openLockFile` throws.
 */
export function takeLock(path: string): HeldLock {
  const fd = openLockFile(path)
  const args = ['--nonblock', '--exclusive', '--conflict-exit-code', String(CONFLICT), '3']
  const run = spawnSync('flock', args, { stdio: ['ignore', 'ignore', 'pipe', fd] })
  if (run.status === 0) return { release: () => closeSync(fd) }
  closeSync(fd)
  if (run.status === CONFLICT) {
    throw new CoppiceError('already_exists', 'gateway_running', 'Another gateway holds this COPPICE_HOME.', {
      facts: { lock: path },
      hint: 'coppice gateway status',
    })
  }
  const said = run.stderr?.toString().trim()
  if (!run.error) {
    throw new CoppiceError('unavailable', 'lock_failed', `${path} could not be locked: ${said}`, {
      facts: { lock: path, status: run.status },
      retryable: false,
      hint: `df -T ${path}`,
    })
  }
  throw new CoppiceError('unavailable', 'flock_missing', 'The lock of COPPICE_HOME could not be taken with flock(1).', {
    facts: { lock: path, error: run.error.message },
    hint: 'apt-get install util-linux',
  })
}
