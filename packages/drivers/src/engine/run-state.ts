import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ContainerInspection, Engine } from '@coppice/engines'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'

/** Milliseconds that an engine gets to notice that the init of a container has ended. Shims tell it within 100. */
const NOTICE_TIMEOUT_MS = 15_000

/**
 * Waits until an engine knows that a container whose init is gone does not run. Undefined when there is no such container. Throws
 * `unavailable/engine_behind`.
 */
export async function settled(
  engine: Engine,
  container: string,
  progress: Progress,
): Promise<ContainerInspection | undefined> {
  const deadline = performance.now() + NOTICE_TIMEOUT_MS
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 1.5, 200)) {
    const found = await engine.containers.inspect(container, progress)
    if (!found?.State.Running) return found
    // A paused one is killed only when it goes on.
    if (found.State.Paused) await engine.containers.unpause(container, progress)
    if (performance.now() > deadline) {
      const { title, kind } = engine.dialect
      throw new CoppiceError('unavailable', 'engine_behind', `${title} still takes ${container} for running.`, {
        facts: { container, engine: kind },
        hint: `${kind} inspect ${container}`,
      })
    }
    await sleep(pauseMs, undefined, { signal: progress.signal }).catch(() => {})
    progress.throwIfEnded()
  }
}

/**
 * Whether a PID that an engine names is the init of that container on this host: an engine in a virtual machine names PIDs of
 * another kernel. Its cgroup has the container's id in its name.
 */
export function isContainerInit(pid: number, containerId: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(containerId)
  } catch {
    return false
  }
}

/** Somebody else took a sandbox's container away. */
export function filesGone(engine: Engine, id: string, container: string): CoppiceError {
  return new CoppiceError(
    'failed_precondition',
    'files_gone',
    `The container of ${id} was removed from ${engine.dialect.title} by somebody else, and its files with it.`,
    { facts: { container }, hint: `coppice rm ${id}` },
  )
}
