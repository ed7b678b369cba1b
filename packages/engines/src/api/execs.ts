import type { Progress } from '@coppice/protocol/wire'
import type { Calls } from './calls.ts'
import { demultiplex } from './logs.ts'
import { hasId } from './shapes.ts'

/** Bytes of a command's output that are kept: the last ones. */
const MAX_OUTPUT_BYTES = 64 * 1024

/** Milliseconds between two looks at a command whose output has ended. */
const LOOK_MS = 50

/** How a command in a container ended, and its last output, both streams together. */
export interface ExecOutcome {
  exitCode: number
  output: string
}

/** Runs a command in a running container to its end, however long that takes. Nothing ends it when the progress does: engines have no call for that. */
export async function runInContainer(
  calls: Calls,
  container: string,
  argv: string[],
  progress: Progress,
): Promise<ExecOutcome> {
  const at = `/containers/${encodeURIComponent(container)}/exec`
  const made = { AttachStdout: true, AttachStderr: true, Tty: false, Cmd: argv }
  const { Id } = await calls.json<{ Id: string }>({ method: 'POST', path: at, json: made }, progress, hasId)
  const started = {
    method: 'POST',
    path: `/exec/${Id}/start`,
    json: { Detach: false, Tty: false },
    timeoutMs: 0,
  } as const
  let output = Buffer.alloc(0)
  for await (const piece of demultiplex(calls.bytes(started, progress)))
    output = Buffer.concat([output, piece]).subarray(-MAX_OUTPUT_BYTES)
  for (;;) {
    const { Running, ExitCode } = await calls.json<{ Running: boolean; ExitCode: number | null }>(
      { method: 'GET', path: `/exec/${Id}/json` },
      progress,
    )
    // A child that keeps on running in the background may have closed the output; the engine may be slower than it.
    if (!Running && ExitCode !== null) return { exitCode: ExitCode, output: output.toString('utf8') }
    await progress.race(new Promise<void>((resolve) => setTimeout(resolve, LOOK_MS)))
  }
}
