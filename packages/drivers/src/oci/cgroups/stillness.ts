import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'

/** Milliseconds in which everything must stop. It takes a few; who waits for a disk or a network that is gone never stops. */
const FREEZE_MS = 10_000

/** Milliseconds of the first try; each one after it gets twice as many, so that what is large comes to its end too. */
const FIRST_TRY_MS = 100

/** Milliseconds between two tries: what waits for something that stands still already gets on. */
const RELIEF_MS = 10

/** What a group can be told. */
export interface Freezer {
  hold: () => void
  letGo: () => void
  isFrozen: () => boolean
}

/**
 * Holds a group and waits until it is frozen. When it is not in time, or the progress ends, it is let go on.
 *
 * It is tried more than once: with version 1, a program of several threads that is being replaced (`execve`) waits for the others to
 * end, and those may stand still before they did. Neither ever moves again then, until they are let go on for a moment.
 */
export async function stillness(id: string, freezer: Freezer, progress: Progress): Promise<void> {
  const deadline = performance.now() + FREEZE_MS
  try {
    for (let tryMs = FIRST_TRY_MS; ; tryMs *= 2) {
      freezer.hold()
      if (await frozenBefore(Math.min(deadline, performance.now() + tryMs), freezer, progress)) return
      if (performance.now() > deadline) throw notFrozen(id)
      freezer.letGo()
      await sleep(RELIEF_MS)
    }
  } catch (error) {
    freezer.letGo()
    throw error
  }
}

async function frozenBefore(deadline: number, { isFrozen }: Freezer, progress: Progress): Promise<boolean> {
  for (let pauseMs = 1; !isFrozen(); pauseMs = Math.min(pauseMs * 2, 50)) {
    progress.throwIfEnded()
    if (performance.now() > deadline) return false
    await sleep(pauseMs)
  }
  return true
}

function notFrozen(id: string): CoppiceError {
  const message = `Not all processes of ${id} could be held still within ${FREEZE_MS / 1000} s.`
  return new CoppiceError('unavailable', 'not_frozen', message, { hint: `coppice exec ${id} -- ps` })
}
