import { closeSync, constants, openSync, readSync, rmSync } from 'node:fs'
import type { FifoStore } from '../launch/fifo.ts'
import { quote } from '../launch/script.ts'
import type { Tools } from '../paths.ts'
import type { KillScope, KillScopes, ScopeEntry, ScopeMark, ScopeOptions, WaitStatus } from './kill-scope.ts'
import { readProcess, sendSignal } from './processes.ts'
import { signalName } from './signals.ts'
import { Tree } from './tree.ts'

const SIGKILL = 9

/** On it tini and `time` have the FIFO for the status open, both ways: opening it does not wait for a reader that was killed. */
const STATUS_FD = 5

/**
 * Scopes without cgroups: `tini -s` around each exec adopts every orphan, so that all descendants can be found from it.
 * tini passes an exit by signal on as a plain exit status, so busybox `time` stands between and writes down the true one.
 */
export class SubreaperScopes implements KillScopes {
  readonly kind = 'subreaper'
  readonly #fifos: FifoStore
  readonly #tools: Tools

  constructor(fifos: FifoStore, tools: Tools) {
    this.#fifos = fifos
    this.#tools = tools
  }

  async create(options: ScopeOptions): Promise<KillScope> {
    return new SubreaperScope(await this.#fifos.take(), this.#tools, options)
  }

  async clear(lost: readonly ScopeMark[]): Promise<void> {
    await Promise.all(
      lost.map(async ({ pid, startTime }) => {
        if (readProcess(pid)?.startTime !== startTime) return
        await new Tree(pid).kill()
        sendSignal(pid, SIGKILL)
      }),
    )
  }

  sweep(): void {}
}

class SubreaperScope implements KillScope {
  readonly name = ''
  readonly entry: ScopeEntry
  readonly #statusPath: string
  /** A FIFO and not a file: an exec must not lose its status to a full disk. */
  readonly #statusFd: number
  #tree = new Tree(0)
  #main = 0
  #released = false

  constructor(statusPath: string, tools: Tools, options: ScopeOptions) {
    this.#statusPath = statusPath
    this.#statusFd = openSync(statusPath, constants.O_RDONLY | constants.O_NONBLOCK)
    const session = options.terminal ? [] : [tools.busybox, 'setsid']
    const time = [tools.busybox, 'time', '-f', 'ended', '-o', `/proc/self/fd/${STATUS_FD}`]
    this.entry = {
      wrapper: [tools.tini, '-s', '--', ...time, ...session],
      opening: `exec ${STATUS_FD}<>${quote(statusPath)}`,
      prologue: `exec ${STATUS_FD}>&-`,
    }
  }

  started(launcher: number, main: number): void {
    this.#main = main
    // The `time` around the program must outlive it to tell its status.
    this.#tree = new Tree(launcher, readProcess(main)?.parent)
    rmSync(this.#statusPath, { force: true })
  }

  populated(): boolean {
    return this.#tree.members().length > 0
  }

  hold(): void {
    this.#tree.hold()
  }

  async signalAll(signal: number): Promise<void> {
    await this.#tree.signal(signal)
  }

  signalGroup(signal: number): boolean {
    const group = readProcess(this.#main)?.group
    const members = this.#tree.members().filter((stat) => stat.group === group)
    return members.map((stat) => sendSignal(stat.pid, signal)).includes(true)
  }

  async kill(): Promise<void> {
    await this.#tree.kill()
  }

  oomKilled(): 'unknown' {
    return 'unknown'
  }

  waitStatus(): WaitStatus | 'unknown' {
    const buffer = Buffer.alloc(256)
    let text: string
    try {
      text = buffer.toString('latin1', 0, readSync(this.#statusFd, buffer))
    } catch {
      return 'unknown'
    }
    const signal = /^Command terminated by signal (\d+)$/m.exec(text)?.[1]
    if (signal !== undefined) return { exitCode: null, signal: signalName(Number.parseInt(signal, 10)) }
    const exitCode = /^Command exited with non-zero status (\d+)$/m.exec(text)?.[1]
    if (exitCode !== undefined) return { exitCode: Number.parseInt(exitCode, 10), signal: null }
    return text === 'ended\n' ? { exitCode: 0, signal: null } : 'unknown'
  }

  release(): void {
    if (this.#released) return
    this.#released = true
    closeSync(this.#statusFd)
    rmSync(this.#statusPath, { force: true })
  }
}
