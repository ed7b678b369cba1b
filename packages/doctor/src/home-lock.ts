import { spawnSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { openLockFile } from '@coppice/protocol/home-file'
import { CoppiceError } from '@coppice/protocol/wire'

/** What flock(1) is to end with when somebody else has the lock. It ends with 1 for other reasons too. */
const CONFLICT = 75

/** A lock that this process has until it lets go or dies. */
export interface HeldLock {
  release(): void
}

/**
 * Locks a file or folder with flock(1), which locks the open file that it inherits: the lock is this process's own, and the
 * kernel ends it with the process. Undefined when another process has it. Nothing is written.
 *
 * @param flags `r` for a folder that exists, `a` for a file, made where it is missing
 * @throws `unavailable/flock_missing` without util-linux, and what the file system refuses
 */
export function takeLock(path: string, flags: 'r' | 'a'): HeldLock | undefined {
  const fd = flags === 'r' ? openSync(path, 'r') : openLockFile(path)
  const args = ['--nonblock', '--exclusive', '--conflict-exit-code', String(CONFLICT), '3']
  const { status, error } = spawnSync('flock', args, { stdio: ['ignore', 'ignore', 'ignore', fd] })
  if (status === 0) return { release: () => closeSync(fd) }
  closeSync(fd)
  if (status === CONFLICT) return undefined
  throw new CoppiceError('unavailable', 'flock_missing', `flock(1) could not be run: ${error?.message ?? status}.`, {
    hint: 'apt-get install util-linux',
  })
}
