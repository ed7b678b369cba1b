import { statfs } from 'node:fs/promises'
import { posix } from 'node:path'
import type { ContainerInspection, Engine } from '@coppice/engines'
import type { PushTarget } from '@coppice/images'
import { CoppiceError } from '@coppice/protocol'

/** A container of an engine, as a place that files are put into. */
export function containerTarget(engine: Engine, found: ContainerInspection): PushTarget {
  const { Id: id, Name, State } = found
  return {
    name: `container:${Name.replace(/^\//, '')}`,
    freeBytes: async (folder) => {
      try {
        const { bavail, bsize } = await statfs(posix.join(`/proc/${State.Pid}/root`, folder))
        return bavail * bsize
      } catch {
        // Not this user's to look at, or no such folder: the engine will say.
        return null
      }
    },
    put: (folder, sizeBytes, chunks, progress) =>
      engine.containers.putArchive(id, folder, { sizeBytes, chunks }, progress),
    run: (command, progress) => engine.containers.run(id, ['sh', '-c', command], progress),
    remove: async (path, progress) => {
      const { exitCode, output } = await engine.containers.run(id, ['rm', '-f', path], progress)
      if (exitCode === 0) return
      throw new CoppiceError('failed_precondition', 'not_removed', `rm ended with ${exitCode}: ${output.trim()}`)
    },
  }
}
