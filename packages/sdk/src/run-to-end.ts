import { CoppiceError } from '@coppice/protocol/wire'
import type { ByteSource } from './byte-source.ts'
import { abortError, throwIfAborted } from './cancellation.ts'
import type { GatewayConnection } from './connection.ts'
import { execPath, followRequest, startRequest } from './exec.ts'
import { type Command, execSpec, type SpawnOptions } from './exec-options.ts'
import { DEFAULT_MAX_OUTPUT_BYTES, type ExecOutcome, OutputCollector } from './outcome.ts'
import { OutputFollower } from './output-follower.ts'
import { StdinWriter } from './stdin-writer.ts'

/** The largest that still fits into one string. */
const LARGEST_OUTPUT_BYTES = 512 * 1024 * 1024 - 24

export interface ExecOptions extends Omit<SpawnOptions, 'stdin'> {
  /** Given to the program, then end-of-file. Absent: end-of-file at once. */
  stdin?: ByteSource | undefined
  /** Output that is held, both streams together. Default 64 MiB, at most 512 MiB. */
  maxOutputBytes?: number | undefined
  /**
   * What more output than that means. `error` (default): the command runs to its end, then
   * `resource_exhausted/output_too_large` with the result in its facts. `truncate`: the rest is let go and `truncated` is true.
   */
  overflow?: 'error' | 'truncate' | undefined
}

/** Runs a command to its end and holds its output. Aborting `signal` kills it. */
export async function runToEnd(
  connection: GatewayConnection,
  sandboxPath: string,
  command: Command,
  options: ExecOptions,
): Promise<ExecOutcome> {
  const { stdin, maxOutputBytes = DEFAULT_MAX_OUTPUT_BYTES, overflow = 'error', signal, ...rest } = options
  throwIfAborted(signal)
  const spec = execSpec(command, { ...rest, stdin: stdin === undefined ? undefined : 'stream' })
  const block = options.journal === 'block'
  const sink = new OutputCollector(Math.min(maxOutputBytes, LARGEST_OUTPUT_BYTES))
  const follower = new OutputFollower(connection, {
    execId: spec.id,
    from: 0,
    start: startRequest(sandboxPath, spec),
    follow: (id, from) => followRequest(execPath(sandboxPath, id), from, block),
    sink,
    boundMs: options.boundMs,
  })
  const path = () => execPath(sandboxPath, follower.execId)
  const kill = () => connection.json({ method: 'POST', path: `${path()}/signal`, json: { signal: 'KILL' } }, true)
  // Killed only after it has started: a kill that overtakes the start would find nothing to kill.
  const onAbort = () => {
    const ended = () => follower.detach(abortError(signal as AbortSignal))
    follower.started.then(kill).then(ended, ended)
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  const input = stdin === undefined ? undefined : feed(connection, follower, path, stdin, kill)
  try {
    const result = await follower.result
    throwIfAborted(signal)
    return sink.outcome(follower.execId, result, overflow)
  } catch (error) {
    throw (input?.failure as CoppiceError | undefined) ?? error
  } finally {
    signal?.removeEventListener('abort', onAbort)
    input?.abandon()
  }
}

/** Gives the program its input. What it does not read is no failure; an input that cannot be read ends the exec. */
function feed(
  connection: GatewayConnection,
  follower: OutputFollower,
  path: () => string,
  source: ByteSource,
  kill: () => Promise<unknown>,
): { failure: CoppiceError | undefined; abandon(): void } {
  let writer: StdinWriter | undefined
  const state = {
    failure: undefined as CoppiceError | undefined,
    abandon: () => writer?.abandon(),
  }
  const write = async () => {
    await follower.started
    writer = new StdinWriter(connection, path())
    await writer.writeAll(source)
    await writer.end()
  }
  write().catch((cause) => {
    const error = CoppiceError.from(cause)
    if (error.reason === 'stdin_closed' || error.reason === 'detached') return
    state.failure = error
    void kill().catch(() => {})
    follower.detach(error)
  })
  return state
}
