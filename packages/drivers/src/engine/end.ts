import type { ContainerInspection, Engine, EngineEvent } from '@coppice/engines'
import { Progress } from '@coppice/protocol/wire'
import { killedForMemory } from '../host/kernel-log.ts'
import type { SandboxEnd } from '../lifecycle/record.ts'

/** Milliseconds before an end in which what happened counts as its cause. */
const CAUSE_MS = 15_000

/** Milliseconds for asking an engine about one end. */
const ASK_TIMEOUT_MS = 5000

/** Events of one container that are looked at: the last ones. */
const MAX_EVENTS = 500

const SIGKILL_EXIT = 137

/** A time without the engine. `until` is null while it lasts. */
export interface Outage {
  from: number
  until: number | null
}

export interface EndEvidence {
  /** Undefined when the container is gone, or is being removed. */
  container: ContainerInspection | undefined
  /** What the engine tells of the last seconds of the run. */
  events: EngineEvent[]
  /** Whether the kernel's log says that the init was killed for memory. Undefined when it cannot be read. */
  killedForMemory: boolean | undefined
}

/** What an engine knows about the end of a container. Throws when it cannot be asked. */
export async function evidence(engine: Engine, container: string, pid: number | undefined): Promise<EndEvidence> {
  const progress = new Progress({ timeoutMs: ASK_TIMEOUT_MS })
  const found = await engine.containers.inspect(container, progress)
  if (!found || found.State.Dead || found.State.Status === 'removing') return NOTHING
  const events: EngineEvent[] = []
  const query = { container, since: Date.now() - 2 * CAUSE_MS, follow: false }
  for await (const event of engine.events(query, progress)) {
    events.push(event)
    if (events.length > MAX_EVENTS) events.shift()
  }
  const kernel = pid === undefined ? undefined : killedForMemory(pid, found.Id)
  return { container: found, events, killedForMemory: kernel }
}

/** There is no container any more. */
export const NOTHING: EndEvidence = { container: undefined, events: [], killedForMemory: undefined }

/**
 * Makes more of an end that the host alone could explain only as "ended in order" or "was killed". `title`: the engine's name.
 * Nothing is guessed: an OOM kill is one that the kernel's log has, with the PID; where that cannot be read, one that the engine
 * has seen right before the end, and with the exit code that goes with it.
 */
export function refineEnd(
  end: SandboxEnd,
  { container, events, killedForMemory: kernel }: EndEvidence,
  outage: Outage | undefined,
  title: string,
): SandboxEnd {
  if (!container) {
    const message = `Its container was removed from ${title} by somebody else, and its files with it.`
    return { ...end, reason: 'vanished', message, exitCode: null }
  }
  const { ExitCode: exitCode, OOMKilled: oom } = container.State
  const near = events.filter(({ at }) => at > end.at - CAUSE_MS)
  const asked = near.find(({ action }) => action === 'kill' || action === 'stop')
  const during = outage !== undefined && end.at > outage.from - CAUSE_MS && end.at < (outage.until ?? end.at) + CAUSE_MS
  const gone = during ? ` ${title} was going away or being started again at that moment.` : ''
  if (end.reason === 'exited') {
    if (!asked && !during) return end
    return { ...end, message: `The init of the sandbox was told to end through ${title}, and did.${gone}` }
  }
  const seen = oom === true && exitCode === SIGKILL_EXIT && !asked && near.some(({ action }) => action === 'oom')
  if (kernel ?? seen) {
    const message = 'The sandbox was out of memory and the kernel killed its init.'
    return { ...end, reason: 'oom_killed', message, exitCode: null }
  }
  if (exitCode >= 0 && exitCode < 128 && !container.State.Running && !during) {
    const message = `The init of the sandbox ended by itself, with exit code ${exitCode}.`
    return { ...end, reason: 'exited', message, exitCode }
  }
  if (asked) return { ...end, message: `The init of the sandbox was killed through ${title}.${gone}` }
  return gone === '' ? end : { ...end, message: `${end.message}${gone}` }
}
