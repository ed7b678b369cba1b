import { chownSync, constants, openSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import type { IPty } from '@lydell/node-pty'
import type { WaitStatus } from '../scope/kill-scope.ts'
import { isAlive, readProcess } from '../scope/processes.ts'
import { signalName } from '../scope/signals.ts'
import type { Identity } from './identity.ts'
import type { Launched } from './launched.ts'
import { type LauncherDeps, launchError } from './launcher.ts'
import { ASK_READY, launcherWords } from './prologue.ts'
import { openForReading, STDIN_FD } from './script.ts'
import type { OutputSource } from './source.ts'

export interface TerminalSize {
  readonly cols: number
  readonly rows: number
  readonly term: string
}

/** What ends the input of a program on a terminal, in the usual (canonical) mode: Ctrl-D. */
const END_OF_TRANSMISSION = '\x04'

/** node-pty throws output away 200 ms after the program's end; a paused terminal looks this often whether it has ended. */
const PAUSED_LOOK_MS = 50

/**
 * Starts a launcher on a terminal of its own and waits until it is ready. Like `startLauncher`; the slave belongs to the
 * exec's user. When the program ends, the terminal goes: background children get SIGHUP, as from any terminal.
 */
export async function startTerminal(
  deps: LauncherDeps,
  identity: Identity | undefined,
  size: TerminalSize,
): Promise<Launched> {
  const { tools, fifos, scopes } = deps
  const { spawn } = await import('@lydell/node-pty')
  const scriptPath = await fifos.take()
  // Read and write: opening it does not wait for the launcher, and nothing written is lost before that has opened it.
  const fd = openSync(scriptPath, constants.O_RDWR | constants.O_NONBLOCK)
  const script = new Socket({ fd, readable: false, writable: true })
  script.on('error', () => {})
  script.write(ASK_READY)
  const scope = await scopes.create({ terminal: true })
  const words = launcherWords(scope.entry, identity, tools, `exec ${STDIN_FD}<&0 ${openForReading(0, scriptPath)}`)
  let pty: IPty
  try {
    pty = spawn(words[0], words.slice(1), { ...size, name: size.term, cwd: '/', env: {}, encoding: null })
  } catch (error) {
    script.destroy()
    rmSync(scriptPath, { force: true })
    scope.release()
    throw launchError(error as Error, '')
  }
  const source = new TerminalSource(pty)
  const exited = new Promise<{ exitCode: number; signal?: number | undefined }>((resolve) => pty.onExit(resolve))
  const line = await Promise.race([source.firstLine(), exited.then(() => undefined)])
  rmSync(scriptPath, { force: true })
  const main = Number.parseInt(line ?? '', 10)
  if (!(main > 0)) {
    script.destroy()
    await scope.kill()
    scope.release()
    throw launchError(undefined, line ?? '')
  }
  scope.started(pty.pid, main)
  source.main = main
  if (identity) chownSlave(pty, identity)
  const status = async (): Promise<WaitStatus | 'unknown'> => {
    const end = await exited
    source.close()
    const own = scope.waitStatus()
    if (own !== undefined) return own
    return end.signal ? { exitCode: null, signal: signalName(end.signal) } : { exitCode: end.exitCode, signal: null }
  }
  const ended = status()
  let gone = false
  void ended.then(() => {
    gone = true
  })
  const write = (chunk: Buffer | string) =>
    new Promise<boolean>((resolve) => {
      if (gone) resolve(false)
      else socketOf(pty).write(chunk, (error) => resolve(!error))
    })
  return {
    main,
    launcher: pty.pid,
    scope,
    sources: [source],
    input: { write, end: () => void write(END_OF_TRANSMISSION), destroy: () => {} },
    exited: ended,
    run: (text) => {
      script.end(text, () => script.destroy())
    },
    dispose: () => {
      script.destroy()
      void scope.kill().then(() => scope.release())
    },
    resize: (cols, rows) => {
      if (!gone) pty.resize(cols, rows)
    },
  }
}

/** node-pty names the slave but does not declare it. */
function chownSlave(pty: IPty, identity: Identity): void {
  chownSync((pty as IPty & { ptsName: string }).ptsName, identity.uid, identity.gid)
}

/** node-pty's own `write` does not tell when the program has taken what was written. */
function socketOf(pty: IPty): Socket {
  return (pty as IPty & { _socket: Socket })._socket
}

class TerminalSource implements OutputSource {
  readonly #pty: IPty
  #onData: (chunk: Buffer) => void = () => {}
  #looking: NodeJS.Timeout | undefined
  #close: () => void = () => {}
  readonly ended: Promise<void>
  main = 0

  constructor(pty: IPty) {
    this.#pty = pty
    this.ended = new Promise((resolve) => {
      this.#close = resolve
    })
    // With `encoding: null` the data are buffers, whatever the declaration says.
    pty.onData((data) => this.#onData(data as unknown as Buffer))
  }

  firstLine(): Promise<string> {
    return new Promise((resolve) => {
      let line = ''
      this.#onData = (chunk) => {
        line += chunk.toString('latin1')
        if (line.endsWith('\n')) resolve(line)
      }
    })
  }

  start(onData: (chunk: Buffer) => void): void {
    this.#onData = onData
  }

  pause(): void {
    this.#pty.pause()
    this.#looking ??= setInterval(() => {
      const main = readProcess(this.main)
      if (!main || !isAlive(main)) this.resume()
    }, PAUSED_LOOK_MS)
  }

  resume(): void {
    clearInterval(this.#looking)
    this.#looking = undefined
    this.#pty.resume()
  }

  close(): void {
    clearInterval(this.#looking)
    this.#close()
  }

  drain(): void {}

  discard(): void {
    this.#onData = () => {}
    this.resume()
  }
}
