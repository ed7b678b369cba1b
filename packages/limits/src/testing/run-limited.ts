import { execFile, execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { readOpenFileLimit } from '../read-limit.ts'

const execute = promisify(execFile)

/** Limits for a process. */
export interface Limits {
  soft: number
  hard: number
}

/** Why a process with a hard limit of `hard` cannot be made here; undefined when it can. */
export async function obstacle(hard: number): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'prlimit is a program of Linux'
  const own = await readOpenFileLimit()
  if (own.hard < hard) return `the hard limit of open files is ${own.hard} here, the test needs ${hard}`
  try {
    execFileSync('prlimit', ['--version'])
    return undefined
  } catch {
    return 'prlimit is not installed (util-linux)'
  }
}

/** Runs a module of this folder, or an absolute one, with these limits. What it writes to stdout must be JSON. */
export async function runLimited(limits: Limits, module: string, args: string[] = [], env: NodeJS.ProcessEnv = {}) {
  const script = fileURLToPath(new URL('./limited.ts', import.meta.url))
  const argv = [script, String(limits.soft), String(limits.hard), module, ...args]
  const { stdout, stderr } = await execute(process.execPath, argv, {
    env: { ...process.env, ...env },
    maxBuffer: 16 * 1024 * 1024,
  })
  return { said: JSON.parse(stdout) as unknown, stderr }
}
