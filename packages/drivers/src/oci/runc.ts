import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { runCommand } from '../host/command.ts'
import { identify, isAlive, type ProcessIdentity } from '../host/process.ts'

/** Files of runc in one sandbox's folder. Each sandbox has a state folder of its own: removing the folder removes all there is. */
export interface RuncPaths {
  /** Holds `config.json`. */
  bundle: string
  /** runc's `--root`. */
  state: string
  log: string
}

export function runcPaths(folder: string): RuncPaths {
  return { bundle: folder, state: join(folder, 'runc'), log: join(folder, 'runc.log') }
}

/**
 * The command line of runc, daemonless. No new session keyring: they count against the quota of the one host user that all
 * sandboxes map to (it ends at about 200), and keyctl is refused inside anyway.
 */
export class Runc {
  readonly program: string

  constructor(program = 'runc') {
    this.program = program
  }

  /** Creates and starts. `output` is a file descriptor for the init's standard output and error. */
  async run(id: string, paths: RuncPaths, output: number, progress: Progress): Promise<void> {
    await this.#call(paths, ['run', '--detach', '--no-new-keyring', '--bundle', paths.bundle, id], output, progress)
  }

  /** Creates, starts and waits for the end. Throws when the program's exit status is not 0. */
  async runToEnd(id: string, paths: RuncPaths, output: number, progress: Progress): Promise<void> {
    await this.#call(paths, ['run', '--no-new-keyring', '--bundle', paths.bundle, id], output, progress)
  }

  async create(id: string, paths: RuncPaths, output: number, progress: Progress): Promise<void> {
    await this.#call(paths, ['create', '--no-new-keyring', '--bundle', paths.bundle, id], output, progress)
  }

  async start(id: string, paths: RuncPaths, output: number, progress: Progress): Promise<void> {
    await this.#call(paths, ['start', id], output, progress)
  }

  async #call(paths: RuncPaths, args: string[], output: number, progress: Progress): Promise<void> {
    const global = ['--root', paths.state, '--log', paths.log, '--log-format', 'json']
    const { exitCode } = await runCommand(this.program, [...global, ...args], { output, progress })
    if (exitCode === 0) return
    const detail = lastError(paths.log)
    throw new CoppiceError('unavailable', 'runc_failed', `runc ${args[0]} failed: ${detail}`, {
      retryable: false,
      facts: { exitCode, detail },
      hint: 'coppice doctor',
    })
  }
}

/** The init that runc's own state names, when it is alive. The state is there from creation on. */
export function runcInit(id: string, paths: RuncPaths): ProcessIdentity | undefined {
  try {
    const state = JSON.parse(readFileSync(join(paths.state, id, 'state.json'), 'utf8')) as Record<string, unknown>
    const init = { pid: Number(state.init_process_pid), startTicks: Number(state.init_process_start) }
    return isAlive(init) ? identify(init.pid) : undefined
  } catch {
    return undefined
  }
}

function lastError(log: string): string {
  try {
    const lines = readFileSync(log, 'utf8').slice(-16_384).trim().split('\n').reverse()
    for (const line of lines) {
      const { level, msg } = JSON.parse(line) as { level?: string; msg?: string }
      if (level === 'error' && msg) return msg
    }
  } catch {}
  return 'it gave no reason'
}
