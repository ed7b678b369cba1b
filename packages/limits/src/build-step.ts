import { once } from 'node:events'
import { type FileHandle, open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import type { Progress } from '@coppice/protocol/wire'
import type { OpenFileGuard } from './guard.ts'
import { sparingEnvironment } from './sparing.ts'
import { TooManyFilesDetector } from './too-many-files.ts'

/** One command of a build. */
export interface BuildStep {
  argv: string[]
  cwd?: string
  /** The whole environment. Default: that of this process. */
  env?: NodeJS.ProcessEnv
  /** The command of the second try, for steps whose concurrency is in their arguments. Default: the same. */
  sparingArgv?: string[]
  /** A file to which everything is appended that the step says, in both tries. */
  log: string
  /** Gets the output as it comes. The step waits while it is kept. */
  onOutput?: (chunk: Buffer) => void | Promise<void>
}

/** How one try of a step ended. */
export interface StepTry {
  /** Exit code, or the signal that ended it. */
  status: number | NodeJS.Signals
  /** It failed and said that it may not open another file. */
  tooManyFiles: boolean
}

/** How a step ended. */
export interface StepResult {
  /** That of the last try. */
  status: number | NodeJS.Signals
  /** One or two. */
  tries: StepTry[]
}

const SECOND_TRY = Buffer.from(
  '\n[coppice] Too many open files. Once more, with the least concurrency and without compiler caches.\n',
)

/**
 * Runs a build step under the guard. When it fails because it may not open another file it is run once more with its
 * concurrency cut to the minimum and without compiler caches; how that ends is how the step ends. Throws what `guard.admit`
 * throws, Node's error for a program that is not there, and the end of `progress`, which kills the step.
 */
export async function runBuildStep(guard: OpenFileGuard, step: BuildStep, progress: Progress): Promise<StepResult> {
  const env = step.env ?? process.env
  const log = await open(step.log, 'a', 0o600)
  try {
    const first = await runOnce(guard, step, step.argv, env, log, progress)
    if (!first.tooManyFiles) return { status: first.status, tries: [first] }
    progress.report('The step had too many files open and is tried once more, with the least concurrency.')
    await say(step, log, SECOND_TRY)
    const second = await runOnce(guard, step, step.sparingArgv ?? step.argv, sparingEnvironment(env), log, progress)
    return { status: second.status, tries: [first, second] }
  } finally {
    await log.close()
  }
}

async function runOnce(
  guard: OpenFileGuard,
  step: BuildStep,
  argv: string[],
  env: NodeJS.ProcessEnv,
  log: FileHandle,
  progress: Progress,
): Promise<StepTry> {
  progress.throwIfEnded()
  const child = await guard.spawn(argv, { cwd: step.cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  const stop = () => child.kill('SIGKILL')
  progress.signal.addEventListener('abort', stop, { once: true })
  if (progress.signal.aborted) stop()
  try {
    const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>
    ended.catch(() => undefined)
    const outputs = [child.stdout, child.stderr].filter((stream) => stream !== null)
    const detectors = await Promise.all(outputs.map((stream) => follow(stream, step, log)))
    const [code, signal] = await ended
    progress.throwIfEnded()
    const status = code ?? signal ?? 'SIGKILL'
    return { status, tooManyFiles: status !== 0 && detectors.some((detector) => detector.found) }
  } catch (error) {
    stop()
    throw error
  } finally {
    progress.signal.removeEventListener('abort', stop)
  }
}

async function follow(stream: Readable, step: BuildStep, log: FileHandle): Promise<TooManyFilesDetector> {
  const detector = new TooManyFilesDetector()
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    detector.push(chunk)
    await say(step, log, chunk)
  }
  return detector
}

/** One stream's pieces stay in order, and none is cut by one of the other: the log is opened for appending. */
async function say(step: BuildStep, log: FileHandle, chunk: Buffer): Promise<void> {
  await log.appendFile(chunk)
  await step.onOutput?.(chunk)
}
