import { type CreateCheckpointRequest, Progress } from '@coppice/protocol'
import type { Checkpoints } from '../checkpoints/checkpoints.ts'
import type { CheckpointDirectory } from '../checkpoints/directory.ts'
import type { Call, Handlers } from './app.ts'

type CheckpointRoutes = 'createCheckpoint' | 'listCheckpoints' | 'inspectCheckpoint' | 'removeCheckpoint'

/** Checkpoints over HTTP. */
export function checkpointHandlers(
  checkpoints: Checkpoints,
  directory: CheckpointDirectory,
): Pick<Handlers, CheckpointRoutes> {
  const idOf = (call: Call) => call.params.checkpoint ?? ''
  return {
    createCheckpoint: (call) => {
      const request = call.body as CreateCheckpointRequest
      // However long that takes: who does not want to wait goes away, and then it is taken back.
      return checkpoints.create(call.params.sandbox ?? '', request, new Progress({ signal: call.signal }))
    },
    listCheckpoints: () => ({ checkpoints: checkpoints.list(), skipped: directory.skipped }),
    inspectCheckpoint: (call) => checkpoints.get(idOf(call)),
    removeCheckpoint: (call) => checkpoints.remove(idOf(call)),
  }
}
