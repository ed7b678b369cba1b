import { lstat } from 'node:fs/promises'
import { posix } from 'node:path'
import type { ContainerInspection, Engine } from '@coppice/engines'
import { type PushTarget, type Space, type StagedFiles, spaceOf } from '@coppice/images'
import { CoppiceError, type Progress } from '@coppice/protocol'
import { whyUnfit } from './container-folder.ts'
import { engineOf } from './engines.ts'

/** A container of an engine, as a place that files are put into. */
export function containerTarget(engine: Engine, found: ContainerInspection): PushTarget {
  const { Id: id, Name, State } = found
  const name = `container:${Name.replace(/^\//, '')}`
  return {
    name,
    id: `${engine.dialect.kind}:${id}`,
    unfit: (folder, progress) => whyUnfit(engine, found, folder, progress),
    space: (folder) => spaceIn(State.Pid, folder),
    put: (folder, sizeBytes, chunks, progress) =>
      engine.containers.putArchive(id, folder, { sizeBytes, chunks }, progress),
    run: async (command, progress) => {
      const outcome = await settled(engine.containers.run(id, ['sh', '-c', command], progress))
      if ('value' in outcome && outcome.value.exitCode === 0) return outcome.value
      // Engines say the strangest things of a command whose container goes away.
      if (!(await engine.containers.inspect(id, progress))?.State.Running) throw ended(name)
      if ('error' in outcome) throw outcome.error
      return outcome.value
    },
    remove: async (path, progress) => {
      const outcome = await settled(engine.containers.run(id, ['rm', '-f', path], progress))
      if ('value' in outcome && outcome.value.exitCode === 0) return
      const now = await engine.containers.inspect(id, progress)
      // With the container its files are gone, or will be in a moment.
      if (!now || now.State.Status === 'removing' || now.State.Dead) return
      if ('error' in outcome) throw outcome.error
      const { exitCode, output } = outcome.value
      throw new CoppiceError('failed_precondition', 'not_removed', `rm ended with ${exitCode}: ${output.trim()}`)
    },
  }
}

/** Null where that is not this user's to look at, or there is no such folder: the engine will say. */
async function spaceIn(pid: number, folder: string): Promise<Space | null> {
  let path = `/proc/${pid}/root`
  try {
    for (const part of posix.normalize(folder).split('/').filter(Boolean)) {
      path = posix.join(path, part)
      // From here it would lead through this side's folders.
      if ((await lstat(path)).isSymbolicLink()) return null
    }
    return await spaceOf(path)
  } catch {
    return null
  }
}

async function settled<T>(work: Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await work }
  } catch (error) {
    return { error }
  }
}

function ended(name: string): CoppiceError {
  return new CoppiceError('failed_precondition', 'container_ended', `${name} has ended in the middle of the push.`, {
    hint: 'docker ps --all',
  })
}

/**
 * Removes from containers what gateways of this home have left there that were killed in the middle of a push. Where an engine does
 * not answer, or a container does not run, that waits for the next start.
 */
export async function removeLeftovers(
  staged: StagedFiles,
  progress: Progress,
  log: (message: string) => void,
): Promise<void> {
  for (const { target, path, forget } of staged.left) {
    const [, kind, id = ''] = /^(docker|podman):(.+)$/.exec(target) ?? []
    try {
      if (kind === 'docker' || kind === 'podman') {
        const engine = await engineOf(kind, progress)
        const found = await engine.containers.inspect(id, progress)
        if (found) await containerTarget(engine, found).remove(path, progress)
      }
      await forget()
    } catch (error) {
      log(`${path} in the container ${id} is left of a push that was cut: ${CoppiceError.from(error).message}`)
    }
  }
}
