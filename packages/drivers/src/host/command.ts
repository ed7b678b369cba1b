import { spawn } from 'node:child_process'
import type { Progress } from '@coppice/protocol/wire'
import { CoppiceError } from '@coppice/protocol/wire'

export interface CommandOptions {
  cwd?: string
  env?: Record<string, string>
  /** File descriptors for standard output and error of the command, when it hands them to something that outlives it. */
  output?: number
  /** Standard input; empty when absent. At most what a pipe's reader takes in one go is meant: it is held in memory. */
  input?: string
  /** A further open file of this process, which the command has as descriptor 3. */
  file?: number
  progress?: Progress
}

export interface CommandResult {
  exitCode: number | null
  /** The last 16 KiB of output and error together; empty when `output` was given. */
  text: string
}

const KEPT_BYTES = 16 * 1024

/**
 * Runs a program of the host to its end, without a shell. When the progress ends first the program is killed and the
 * progress's error is thrown. Throws `unavailable/program_missing` when there is no such program.
 */
export function runCommand(program: string, args: string[], options: CommandOptions = {}): Promise<CommandResult> {
  options.progress?.throwIfEnded()
  return new Promise((resolve, reject) => {
    const output = options.output ?? 'pipe'
    const child = spawn(program, args, {
      cwd: options.cwd,
      env: { PATH: process.env.PATH ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', ...options.env },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', output, output, options.file ?? 'ignore'],
    })
    // A command that ends without reading what it was given says why in its output.
    child.stdin?.on('error', () => {})
    child.stdin?.end(options.input)
    let text = ''
    const keep = (chunk: Buffer): void => {
      text = (text + chunk.toString('utf8')).slice(-KEPT_BYTES)
    }
    child.stdout?.on('data', keep)
    child.stderr?.on('data', keep)
    const kill = (): void => void child.kill('SIGKILL')
    const signal = options.progress?.signal
    signal?.addEventListener('abort', kill, { once: true })
    const settle = (): void => signal?.removeEventListener('abort', kill)
    child.once('error', (cause) => {
      settle()
      reject(missing(program, cause))
    })
    child.once('close', (exitCode) => {
      settle()
      try {
        options.progress?.throwIfEnded()
        resolve({ exitCode, text })
      } catch (error) {
        reject(error)
      }
    })
  })
}

function missing(program: string, cause: Error): CoppiceError {
  return new CoppiceError('unavailable', 'program_missing', `${program} could not be started: ${cause.message}.`, {
    retryable: false,
    facts: { program },
    hint: `Install ${program} and see that it is in PATH.`,
    cause,
  })
}
