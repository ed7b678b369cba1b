import { type ExecFileException, execFile } from 'node:child_process'
import { homedir } from 'node:os'
import type { Surroundings } from './strategy.ts'

const RUN_TIMEOUT_MS = 5000
const RUN_MAX_BYTES = 1024 * 1024

/** This process's own. */
export function ownSurroundings(): Surroundings {
  return {
    env: process.env,
    home: homedir(),
    uid: process.getuid?.() ?? 0,
    run: (program, args, progress) =>
      new Promise((resolve) => {
        const bounds = { timeout: RUN_TIMEOUT_MS, maxBuffer: RUN_MAX_BYTES, signal: progress.signal }
        // One that hangs in the kernel or its own clean-up does not end for less.
        const options = { ...bounds, killSignal: 'SIGKILL' } as const
        execFile(program, args, options, (error, printed, said) =>
          resolve(error ? { because: failure(program, error, said) } : { printed }),
        )
      }),
  }
}

function failure(program: string, { code, killed }: ExecFileException, said: string): string {
  if (code === 'ENOENT') return `there is no ${program} command`
  if (killed) return `${program} has not answered for ${RUN_TIMEOUT_MS / 1000} s`
  const words = said.trim().slice(-300)
  return `${program} failed${words === '' ? ` with ${code}` : `: ${words}`}`
}
