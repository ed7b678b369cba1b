import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { findProgram } from './find-program.ts'
import type { OpenFileLimit } from './limit.ts'
import { judge, raiseCommand, raiseTo, shortSentence, tooFew } from './plan.ts'
import { raised, readBack, readOpenFileLimit } from './read-limit.ts'
import { wantedOpenFiles } from './wanted.ts'

/** What a build gets. */
export interface Grant {
  /** Open files that it may have at a time, read back from a child that was raised. `Infinity`: no limit. */
  openFiles: number
  wanted: number
  /** The soft limit that its processes are raised to; undefined when they have enough already. */
  raiseTo: number | undefined
}

/**
 * # The open-file guard
 *
 * Every path that starts a build, a staging step, an import, an unpack, a VM goes through it: work in this process by
 * `admit`, work in a child by `spawn`. A child gets the wanted number of open files (`wantedOpenFiles`): its soft limit is
 * raised, never lowered, and no other process's; the hard limit is an administrator's business. It acts wherever the limit
 * is low, whatever the system.
 */
export class OpenFileGuard {
  readonly #env: NodeJS.ProcessEnv
  readonly #warn: (message: string) => void
  readonly #known = new Map<string, Promise<number>>()
  #hasWarned = false

  /**
   * @param env where the settings are looked up, at each use.
   * @param warn gets one sentence, once. Default: a warning of the process, which Node writes to stderr.
   */
  constructor(env: NodeJS.ProcessEnv = process.env, warn: (message: string) => void = warnProcess) {
    this.#env = env
    this.#warn = warn
  }

  /**
   * Asks whether a build may begin. Below what is wanted it says so, once; below 1024 it throws
   * `resource_exhausted/open_file_limit`, whose hint is the command that raises the limit. Also throws
   * `invalid_argument/invalid_nofile_limit` for a bad setting.
   */
  async admit(): Promise<Grant> {
    const wanted = wantedOpenFiles(this.#env)
    const limit = await readOpenFileLimit()
    const to = raiseTo(limit, wanted)
    const openFiles = to === undefined ? limit.soft : await this.#readBack(limit, to)
    const verdict = judge(openFiles, wanted)
    if (verdict !== 'enough') {
      const command = raiseCommand(limit, wanted, process.platform, process.pid)
      if (verdict === 'too-few') throw tooFew(openFiles, limit, wanted, command)
      this.#warnOnce(shortSentence(openFiles, limit, wanted, command))
    }
    return { openFiles, wanted, raiseTo: to }
  }

  /**
   * Starts a program with the limit that a build is to have. Its process id is the program's own. As with Node's `spawn`, a
   * program that is not there is an `error` event of the child. Throws what `admit` throws.
   */
  async spawn(argv: string[], options: SpawnOptions): Promise<ChildProcess> {
    const { raiseTo: to } = await this.admit()
    const [program = '', ...args] = argv
    // The shell would make an exit code of a program that is not there; then Node is asked, who makes an error of it.
    const found = to === undefined ? undefined : await findProgram(program, options)
    if (to === undefined || found === undefined) return spawn(program, args, options)
    const [shell = '', ...rest] = raised(to, [found, ...args])
    return spawn(shell, rest, options)
  }

  #warnOnce(message: string): void {
    if (this.#hasWarned) return
    this.#hasWarned = true
    this.#warn(message)
  }

  /** A child is asked once for the same limits. */
  #readBack(limit: OpenFileLimit, to: number): Promise<number> {
    const key = `${limit.soft}:${limit.hard}:${to}`
    const known = this.#known.get(key)
    if (known) return known
    const asked = readBack(to)
    this.#known.set(key, asked)
    asked.catch(() => this.#known.delete(key))
    return asked
  }
}

function warnProcess(message: string): void {
  process.emitWarning(message, { code: 'COPPICE_OPEN_FILES' })
}

/** The guard of this process. */
export const openFiles = new OpenFileGuard()
