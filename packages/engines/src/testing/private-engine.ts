import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Progress } from '@coppice/protocol/wire'
import { Engine } from '../api/engine.ts'
import type { EngineKind } from '../dialect.ts'

const READY_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 30_000

export interface CommandOutput {
  exitCode: number
  /** Standard output and error. */
  output: string
}

/** A daemon in a temporary folder, with data, state and socket of its own and no network. `open` of its subclasses starts it. */
export abstract class PrivateEngine {
  abstract readonly kind: EngineKind
  readonly dir = mkdtempSync(join(tmpdir(), 'cpe-'))
  #daemon: ChildProcess | undefined

  /** Program and arguments of the daemon, and of the command line that talks to it. */
  protected abstract daemon(): { program: string; args: string[]; env?: Record<string, string> }
  protected abstract commandLine(args: string[]): { program: string; args: string[]; env?: Record<string, string> }

  get socket(): string {
    return join(this.dir, 'engine.sock')
  }

  get pid(): number {
    const pid = this.#daemon?.pid
    if (pid === undefined) throw new Error('the engine does not run')
    return pid
  }

  /** Starts the daemon and waits until it answers. Throws with the end of its log when it does not. */
  async start(): Promise<void> {
    const { program, args, env } = this.daemon()
    const log = openSync(join(this.dir, 'log'), 'a')
    // Below its folder, because a container's monitor writes files where it is.
    const options = { cwd: this.dir, env: { ...process.env, ...env } }
    const daemon = spawn(program, args, { ...options, stdio: ['ignore', log, log] })
    closeSync(log)
    let failed: string | undefined
    daemon.once('error', (cause) => {
      failed = cause.message
    })
    daemon.once('exit', (code, signal) => {
      failed = `it ended with ${code ?? signal}`
      if (this.#daemon === daemon) this.#daemon = undefined
    })
    this.#daemon = daemon
    const deadline = performance.now() + READY_TIMEOUT_MS
    for (;;) {
      if (failed !== undefined) throw new Error(`${program}: ${failed}\n${this.log()}`)
      try {
        await this.connect()
        return
      } catch (cause) {
        if (performance.now() > deadline) throw new Error(`${program} does not answer: ${cause}\n${this.log()}`)
        await sleep(20)
      }
    }
  }

  /** The end of what it has written. */
  log(): string {
    return readFileSync(join(this.dir, 'log'), 'utf8').slice(-4000)
  }

  connect(): Promise<Engine> {
    return Engine.connect(this.socket, this.kind, Progress.none())
  }

  /** It keeps its connections and answers nobody. */
  freeze(): void {
    process.kill(this.pid, 'SIGSTOP')
  }

  thaw(): void {
    process.kill(this.pid, 'SIGCONT')
  }

  /** The daemon alone, in order or by force; what it runs is its business. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const daemon = this.#daemon
    if (!daemon) return
    const gone = once(daemon, 'exit')
    daemon.kill('SIGCONT')
    daemon.kill(signal)
    const timer = setTimeout(() => daemon.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await gone
    clearTimeout(timer)
  }

  /** The engine's own command line. */
  run(...args: string[]): Promise<CommandOutput> {
    const call = this.commandLine(args)
    return new Promise((resolve) => {
      const options = { env: { ...process.env, ...call.env }, maxBuffer: 64 * 1024 * 1024 }
      execFile(call.program, call.args, options, (error, stdout, stderr) => {
        const exitCode = error ? (typeof error.code === 'number' ? error.code : -1) : 0
        resolve({ exitCode, output: stdout + stderr })
      })
    })
  }

  /** Ends it with everything that it runs, and removes all of it. */
  async close(): Promise<void> {
    await this.end('SIGTERM')
    for (const pid of this.#processes()) kill(pid)
    for (let round = 0; round < 200 && this.#processes().length > 0; round++) await sleep(20)
    await this.#unmount()
    rmSync(this.dir, { recursive: true, force: true })
  }

  /** Shims, monitors and containerds that name this folder. */
  #processes(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .filter((name) => {
        try {
          return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(`${this.dir}/`)
        } catch {
          return false
        }
      })
      .map(Number)
  }

  async #unmount(): Promise<void> {
    const points = readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[4] ?? '')
      .filter((point) => point.startsWith(`${this.dir}/`))
      .sort((a, b) => b.length - a.length)
    for (const point of points) {
      await new Promise((resolve) => execFile('umount', ['--lazy', point], resolve))
    }
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // Gone in between.
  }
}
