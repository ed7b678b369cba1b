import { execFile } from 'node:child_process'
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
        const options = { timeout: RUN_TIMEOUT_MS, maxBuffer: RUN_MAX_BYTES, signal: progress.signal }
        execFile(program, args, options, (error, stdout) => resolve(error ? undefined : stdout))
      }),
  }
}
