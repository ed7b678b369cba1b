import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { ROOT } from './gateway-process.ts'

/** How a command ended and what it said. */
export interface CommandResult {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

/** A program that runs, with what it has said so far. */
export class RunningCommand {
  readonly child: ChildProcess
  readonly ended: Promise<CommandResult>
  stdout = ''
  stderr = ''

  constructor(program: string, argv: string[], env: NodeJS.ProcessEnv, input?: Buffer | string) {
    this.child = spawn(program, argv, { env, stdio: ['pipe', 'pipe', 'pipe'] })
    const { stdin, stdout, stderr } = this.child
    stdout?.setEncoding('latin1').on('data', (text: string) => {
      this.stdout += text
    })
    stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr += text
    })
    stdin?.on('error', () => {})
    if (input !== undefined) stdin?.end(input)
    this.ended = once(this.child, 'close').then(([code, signal]) => {
      return { code, signal, stdout: this.stdout, stderr: this.stderr }
    })
  }
}

/** The `coppice` command as people type it, over one home. */
export class CoppiceCommand {
  readonly env: NodeJS.ProcessEnv
  /** `bin/coppice`, or a link to it. */
  readonly program: string

  constructor(home: string, program = join(ROOT, 'bin', 'coppice')) {
    const { COPPICE_URL: _url, COPPICE_TOKEN: _token, COPPICE_DRIVER: _driver, ...rest } = process.env
    this.env = { ...rest, COPPICE_HOME: home }
    this.program = program
  }

  /** Runs to its end, with the given standard input. */
  run(argv: string[], input: Buffer | string = ''): Promise<CommandResult> {
    return new RunningCommand(this.program, argv, this.env, input).ended
  }

  /** Starts it and leaves its standard input open. */
  start(argv: string[]): RunningCommand {
    return new RunningCommand(this.program, argv, this.env)
  }

  /** Runs a shell line in which `coppice` is the command. */
  shell(line: string): Promise<CommandResult> {
    const script = `coppice() { "${this.program}" "$@"; }\n${line}`
    return new RunningCommand('bash', ['-c', script], this.env, '').ended
  }
}
