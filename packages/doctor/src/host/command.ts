import { spawn } from 'node:child_process'
import type { Progress } from '@coppice/protocol/wire'

/** How a program ended. */
export interface Ran {
  /** Null when it was killed. */
  exitCode: number | null
  /** Output and error together, the last 64 KiB. */
  text: string
}

const KEPT_BYTES = 64 * 1024

export interface RunOptions {
  cwd?: string
  /** Added to `PATH` and `LC_ALL=C`; nothing else of our environment is passed on. */
  env?: Record<string, string>
  /** Milliseconds, if less than the progress allows. The program and everything in its process group is killed then. */
  limitMs?: number
  /** Ends it early when its output so far says enough. */
  until?: (text: string) => boolean
}

/**
 * Runs a program to its end, without a shell and without input. Undefined when there is no such program; a null `exitCode` when
 * time was up or `until` was content.
 */
export function run(
  program: string,
  args: readonly string[],
  progress: Progress,
  options: RunOptions = {},
): Promise<Ran | undefined> {
  const narrowed = options.limitMs === undefined ? progress : progress.within(options.limitMs)
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd ?? '/',
      env: { PATH: programPath(), LC_ALL: 'C', HOME: process.env.HOME ?? '/', ...options.env },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own, so that what it starts is killed with it.
      detached: true,
    })
    let text = ''
    const kill = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
      } catch {}
    }
    const keep = (chunk: Buffer): void => {
      text = (text + chunk.toString('utf8')).slice(-KEPT_BYTES)
      if (options.until?.(text)) kill()
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    narrowed.signal.addEventListener('abort', kill, { once: true })
    if (narrowed.signal.aborted) kill()
    child.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'ENOENT' ? resolve(undefined) : reject(error),
    )
    child.once('close', (exitCode) => {
      narrowed.signal.removeEventListener('abort', kill)
      resolve({ exitCode, text })
    })
  })
}

/** Administrators' programs are not in everybody's PATH. */
export function programPath(): string {
  return `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/local/sbin:/usr/sbin:/sbin`
}

/** The last line that says something, at most 300 characters: what a program's failure is shown as. */
export function lastLine(text: string): string {
  const lines = text.split('\n').map((line) => line.trim())
  return (lines.findLast((line) => line !== '') ?? '').slice(0, 300)
}

/** The first line that says something, at most 300 characters. */
export function firstLine(text: string): string {
  const lines = text.split('\n').map((line) => line.trim())
  return (lines.find((line) => line !== '') ?? '').slice(0, 300)
}
