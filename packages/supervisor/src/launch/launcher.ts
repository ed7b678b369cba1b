import { type ChildProcess, spawn } from 'node:child_process'
import { CoppiceError } from '@coppice/protocol/wire'
import type { Tools } from '../paths.ts'
import type { KillScope, KillScopes, WaitStatus } from '../scope/kill-scope.ts'
import type { FifoStore } from './fifo.ts'
import type { Identity } from './identity.ts'
import type { Launched } from './launched.ts'
import { openPipes, type Pipes } from './pipes.ts'
import { ASK_READY, launcherWords } from './prologue.ts'
import { openForReading, STDIN_FD } from './script.ts'

/** What launchers are made with. */
export interface LauncherDeps {
  readonly tools: Tools
  readonly fifos: FifoStore
  readonly scopes: KillScopes
}

/**
 * Starts a launcher with FIFOs for its stdio and waits until it is ready. `identity` undefined: it stays who the supervisor
 * is. Throws `resource_exhausted/cannot_start_process` when the kernel refuses a process, `internal/launch_failed` otherwise.
 */
export async function startLauncher(deps: LauncherDeps, identity: Identity | undefined): Promise<Launched> {
  const { fifos, scopes, tools } = deps
  const pipes = await openPipes(fifos, identity)
  let scope: KillScope | undefined
  try {
    scope = await scopes.create({ terminal: false })
    // By its path, inside of the scope: a subreaper around the program must not hold the reading end.
    const words = launcherWords(scope.entry, identity, tools, `exec ${openForReading(STDIN_FD, pipes.inputPath)}`)
    return await launch(words, scope, pipes)
  } catch (error) {
    pipes.destroy()
    await scope?.kill()
    scope?.release()
    throw error instanceof CoppiceError ? error : launchError(error as Error, '')
  }
}

async function launch(words: [string, ...string[]], scope: KillScope, pipes: Pipes): Promise<Launched> {
  const { sources, input } = pipes
  let child: ChildProcess
  try {
    const [out, err] = pipes.outputs
    const options = { stdio: ['pipe', out, err] as ['pipe', number, number], detached: true, env: {}, cwd: '/' }
    child = spawn(words[0], words.slice(1), options)
  } finally {
    pipes.handedOver()
  }
  const ended = childEnd(child)
  child.stdin?.on('error', () => {})
  child.stdin?.write(ASK_READY)
  const line = await Promise.race([sources[0].firstLine(), ended.then(() => undefined)])
  pipes.inputOpened()
  const main = Number.parseInt(line ?? '', 10)
  if (!(main > 0) || child.pid === undefined) {
    child.kill('SIGKILL')
    throw launchError(await ended, sources[1].peek())
  }
  scope.started(child.pid, main)
  return {
    main,
    launcher: child.pid,
    scope,
    sources,
    input,
    exited: ended.then((end) => statusOf(scope, end)),
    run: (script) => child.stdin?.end(script),
    dispose: () => {
      child.stdin?.destroy()
      pipes.destroy()
      scope.release()
    },
  }
}

/** How a child ended, or the error that kept it from starting. */
type ChildEnd = { code: number | null; signal: string | null } | Error

function childEnd(child: ChildProcess): Promise<ChildEnd> {
  return new Promise((resolve) => {
    child.once('error', resolve)
    child.once('exit', (code, signal) => resolve({ code, signal }))
  })
}

function statusOf(scope: KillScope, end: ChildEnd): WaitStatus | 'unknown' {
  const own = scope.waitStatus()
  if (own !== undefined) return own
  if (end instanceof Error) return 'unknown'
  return end.signal !== null ? { exitCode: null, signal: end.signal } : { exitCode: end.code ?? 0, signal: null }
}

/** The error of a launcher that ended before it was ready. */
export function launchError(end: ChildEnd | undefined, said: string): CoppiceError {
  if (end instanceof Error) {
    const code = (end as NodeJS.ErrnoException).code
    return new CoppiceError('resource_exhausted', 'cannot_start_process', `No process could be started (${code}).`, {
      facts: { errno: code },
      hint: 'The sandbox may be at its process or memory limit: look with `coppice ps` and `coppice stats`.',
    })
  }
  if (/can't fork|Resource temporarily unavailable/.test(said)) {
    return new CoppiceError('resource_exhausted', 'cannot_start_process', 'No process could be started (EAGAIN).', {
      hint: 'The sandbox may be at its process limit: look with `coppice ps` and `coppice stats`.',
    })
  }
  return new CoppiceError('internal', 'launch_failed', 'The program could not be prepared.', {
    facts: { said, ...end },
  })
}
