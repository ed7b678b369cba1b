import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { openFiles } from '@coppice/limits'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { missingProgram, programPath } from './programs.ts'

/** Bytes of a program's complaints that are kept. */
const STDERR_BYTES = 16 * 1024

export interface RunOptions {
  cwd?: string
  env?: NodeJS.ProcessEnv
  /** Written to its stdin, with backpressure. */
  input?: AsyncIterable<Buffer>
  /** An open file of this process that is its stdout. Nobody listens to that when absent. */
  output?: number
  /** Gets every line that the program writes to its file descriptor 3. */
  onReport?: (line: string) => void
}

/** How a program ended. */
export interface RunResult {
  status: number | NodeJS.Signals
  /** The last 16 KiB of its stderr. */
  stderr: string
}

/**
 * Runs a program of the host to its end, with the open files that a build is to have. An error in `input` kills it and is
 * thrown; the end of `progress` does the same. Throws `failed_precondition/program_missing`,
 * `resource_exhausted/open_file_limit`.
 */
export async function run(argv: string[], options: RunOptions, progress: Progress): Promise<RunResult> {
  progress.throwIfEnded()
  const child = await openFiles.spawn(argv, {
    cwd: options.cwd,
    env: { ...process.env, PATH: programPath(), LC_ALL: 'C.UTF-8', ...options.env },
    stdio: [
      options.input ? 'pipe' : 'ignore',
      options.output ?? 'ignore',
      'pipe',
      options.onReport ? 'pipe' : 'ignore',
    ],
  })
  if (options.onReport) createInterface({ input: child.stdio[3] as Readable }).on('line', options.onReport)
  const stderr = tail(child.stderr)
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
  ended.catch(() => undefined)
  const stop = () => child.kill('SIGKILL')
  progress.signal.addEventListener('abort', stop, { once: true })
  if (progress.signal.aborted) stop()
  try {
    if (options.input) await feed(child, options.input)
    const [code, signal] = await ended
    progress.throwIfEnded()
    return { status: code ?? signal ?? 'SIGKILL', stderr: stderr() }
  } catch (error) {
    stop()
    await ended.catch(() => undefined)
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw missingProgram(argv[0] ?? '', error)
    throw error
  } finally {
    progress.signal.removeEventListener('abort', stop)
  }
}

/** Runs a program that must succeed. Throws `internal/program_failed` with what it said. */
export async function runChecked(argv: string[], options: RunOptions, progress: Progress): Promise<void> {
  const { status, stderr } = await run(argv, options, progress)
  if (status === 0) return
  throw new CoppiceError(
    'internal',
    'program_failed',
    `"${argv[0]}" failed (${status}): ${stderr.trim().slice(-500)}`,
    {
      facts: { program: argv[0], status, stderr },
    },
  )
}

/** A program that ends before its input has is judged by its status, not by the broken pipe. */
async function feed(child: ChildProcess, input: AsyncIterable<Buffer>): Promise<void> {
  const stdin = child.stdin
  if (!stdin) return
  let open = true
  let wake = () => {}
  const close = () => {
    open = false
    wake()
  }
  stdin.on('error', close)
  stdin.on('drain', () => wake())
  child.once('error', close)
  child.once('exit', close)
  for await (const chunk of input) {
    if (!open) break
    if (chunk.length === 0 || stdin.write(chunk)) continue
    // Not by a race with the end: it would keep a little of every chunk.
    await new Promise<void>((resolve) => {
      wake = resolve
    })
  }
  stdin.end()
}

function tail(stream: Readable | null): () => string {
  let kept = Buffer.alloc(0)
  stream?.on('data', (chunk: Buffer) => {
    kept = Buffer.concat([kept, chunk])
    if (kept.length > STDERR_BYTES) kept = kept.subarray(-STDERR_BYTES)
  })
  return () => kept.toString('utf8')
}
