import type { Progress } from '@coppice/protocol'
import { stageRuntime } from '@coppice/runtime'

/** The folder of the runtime bundle, staged once per gateway. A failure is not kept: the next create tries again. */
export function runtimeSource(cacheDir: string): (progress: Progress) => Promise<string> {
  let staged: Promise<string> | undefined
  return (progress) => {
    staged ??= stageRuntime({ cacheDir, progress }).then(
      ({ dir }) => dir,
      (error: unknown) => {
        staged = undefined
        throw error
      },
    )
    return progress.race(staged)
  }
}
