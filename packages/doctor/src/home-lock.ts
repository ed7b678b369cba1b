import { spawnSync } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { CoppiceError } from '@coppice/protocol/wire'

/** A lock that this process has until it lets go or dies. */
export interface HeldLock {
  release(): void
}

/**
 * Locks a file or folder with flock(1), which locks the open file that it inherits: the lock is this process's own, and the
 * kernel ends it with the process. Undefined when another process has it. Nothing is written.
 *
 * @param flags `r` for what exists, `a` to make a missing file
 * @throws `unavailable/flock_missing` without util-linux, and what the file system refuses
 */
export function takeLock(path: string, flags: 'r' | 'a'): HeldLock | undefined {
  const fd = openSync(path, flags, 0o600)
  const { status, error } = spawnSync('flock', ['--nonblock', '--exclusive', '3'], {
    stdio: ['ignore', 'ignore', 'ignore', fd],
  })
  if (status === 0) return { release: () => closeSync(fd) }
  closeSync(fd)
  if (status === 1) return undefined
  throw new CoppiceError('unavailable', 'flock_missing', `flock(1) could not be run: ${error?.message ?? status}.`, {
    hint: 'apt-get install util-linux',
  })
}
