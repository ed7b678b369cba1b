import { setTimeout as sleep } from 'node:timers/promises'
import type { ContainerInspection } from '@coppice/engines'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { identify } from '../host/process.ts'
import { thawContainer } from './freezer.ts'
import { isContainerInit } from './run-state.ts'

/** Milliseconds for which an engine is asked again that could not hold a container still. */
const HOLD_MS = 20_000

/** Milliseconds between two times. */
const AGAIN_MS = 20

/**
 * Runs a commit, again where the engine could not hold the container still for it, for as long as somebody wants it. Processes that
 * have used up their CPU time are held still only when they get more, ten times a second, and runc gives up before that.
 */
export async function heldStill<T>(
  container: ContainerInspection,
  progress: Progress,
  commit: () => Promise<T>,
): Promise<T> {
  const deadline = performance.now() + HOLD_MS
  for (;;) {
    try {
      return await commit()
    } catch (cause) {
      const { reason, message } = CoppiceError.from(cause)
      const again = reason === 'engine_refused' && /\bpaus(e|ing)\b|\bfreeze\b/i.test(message)
      if (!again || performance.now() > deadline) throw cause
      // In version 2 of cgroups it may be held still later on, and its engine takes it for running.
      if (!container.State.Paused) letGoOn(container)
      await sleep(AGAIN_MS, undefined, { signal: progress.signal }).catch(() => {})
      if (progress.signal.aborted) throw cause
    }
  }
}

/** Lets a container go on that is held still, whatever its engine believes. See `thawContainer`. */
export function letGoOn({ Id, State }: ContainerInspection): void {
  const init = State.Pid > 0 ? identify(State.Pid) : undefined
  if (init && isContainerInit(init.pid, Id)) thawContainer(init)
}
