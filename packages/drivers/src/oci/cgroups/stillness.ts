import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'

/** Milliseconds in which everything must stop. It takes a few; who waits for a disk or a network that is gone never stops. */
const FREEZE_MS = 10_000

/** Waits until a group that was told to freeze is frozen. When it is not in time, or the progress ends, it is let go on. */
export async function stillness(
  id: string,
  isFrozen: () => boolean,
  letGo: () => void,
  progress: Progress,
): Promise<void> {
  const deadline = performance.now() + FREEZE_MS
  try {
    for (let pauseMs = 1; !isFrozen(); pauseMs = Math.min(pauseMs * 2, 50)) {
      progress.throwIfEnded()
      if (performance.now() > deadline) {
        const message = `Not all processes of ${id} could be held still within ${FREEZE_MS / 1000} s.`
        throw new CoppiceError('unavailable', 'not_frozen', message, { hint: `coppice exec ${id} -- ps` })
      }
      await sleep(pauseMs)
    }
  } catch (error) {
    letGo()
    throw error
  }
}
