import { setTimeout as delay } from 'node:timers/promises'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { Transient } from './faults.ts'

/** The longest wait between two attempts, and the longest that a registry may ask for, milliseconds. */
const MAX_WAIT_MS = 30_000

export interface RetryPolicy {
  attempts: number
  retryMs: number
}

/**
 * Runs `attempt` until it succeeds or throws something that is not `Transient`, with growing and scattered waits. Attempts
 * that got further than the one before do not count.
 *
 * @param position how far the work is; any number that grows
 */
export async function retrying<R>(
  policy: RetryPolicy,
  progress: Progress,
  attempt: () => Promise<R>,
  position: () => number = () => 0,
): Promise<R> {
  let furthest = position()
  for (let failed = 0; ; ) {
    try {
      return await attempt()
    } catch (error) {
      progress.throwIfEnded()
      if (!(error instanceof Transient)) throw error
      failed = position() > furthest ? 1 : failed + 1
      furthest = Math.max(furthest, position())
      if (failed >= policy.attempts) throw error.fault
      const backoff = policy.retryMs * 2 ** (failed - 1) * (0.5 + Math.random() / 2)
      const waitMs = Math.min(Math.max(backoff, error.waitMs ?? 0), MAX_WAIT_MS)
      progress.report(`${error.fault.message} Trying again in ${(waitMs / 1000).toFixed(1)} s.`)
      await progress.race(delay(waitMs, undefined, { signal: progress.signal }).catch(endedInstead))
    }
  }
}

function endedInstead(error: unknown): never {
  throw new CoppiceError('cancelled', 'cancelled', 'The operation was cancelled.', { cause: error })
}
