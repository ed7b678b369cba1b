import { type ContainerInspection, discoverEngine, type Engine, type EngineKind } from '@coppice/engines'
import { CoppiceError, type Progress } from '@coppice/protocol'

/** In the order in which they are asked when none is named. */
const KINDS: readonly EngineKind[] = ['docker', 'podman']

/** `docker-daemon:` and `podman:` as engines. */
export function engineKind(place: 'docker-daemon' | 'podman'): EngineKind {
  return place === 'podman' ? 'podman' : 'docker'
}

/** @throws `unavailable/no_engine` and what else `discoverEngine` does */
export async function engineOf(kind: EngineKind, progress: Progress): Promise<Engine> {
  return (await discoverEngine(kind, progress)).engine
}

/**
 * An engine that builds.
 * @throws `unsupported/no_builder` that says of each engine why not
 */
export async function anyEngine(progress: Progress): Promise<Engine> {
  const reasons: Record<string, string> = {}
  for (const kind of KINDS) {
    try {
      return await engineOf(kind, progress)
    } catch (error) {
      progress.throwIfEnded()
      reasons[kind] = CoppiceError.from(error).message
    }
  }
  throw new CoppiceError(
    'unsupported',
    'no_builder',
    'A Dockerfile needs Docker or Podman on this machine, and neither works.',
    {
      facts: { engines: reasons },
      hint: 'apt-get install docker.io, or build elsewhere and: coppice image import docker-archive:FILE',
    },
  )
}

/**
 * The engine that has a running container of this name.
 * @throws `not_found/container_not_found`, `failed_precondition/container_not_running`
 */
export async function engineWith(
  container: string,
  progress: Progress,
): Promise<{ engine: Engine; found: ContainerInspection }> {
  const reasons: Record<string, string> = {}
  for (const kind of KINDS) {
    try {
      const engine = await engineOf(kind, progress)
      const found = await engine.containers.inspect(container, progress)
      if (found?.State.Running) return { engine, found }
      if (found) {
        throw new CoppiceError(
          'failed_precondition',
          'container_not_running',
          `The container ${container} does not run.`,
          {
            hint: `${kind} start ${container}`,
          },
        )
      }
      reasons[kind] = 'has no such container'
    } catch (error) {
      progress.throwIfEnded()
      const failure = CoppiceError.from(error)
      if (failure.reason === 'container_not_running') throw failure
      reasons[kind] = failure.message
    }
  }
  throw new CoppiceError(
    'not_found',
    'container_not_found',
    `No engine of this machine has a container ${container}.`,
    {
      facts: { engines: reasons },
      hint: 'docker ps',
    },
  )
}
