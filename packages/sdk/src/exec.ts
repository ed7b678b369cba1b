import { CoppiceError, type ExecInfo, type ExecResult, type Gap } from '@coppice/protocol/wire'
import type { GatewayConnection, GatewayRequest } from './connection.ts'
import type { IdentifiedSpec } from './exec-options.ts'
import type { OutputSink } from './journal-cursor.ts'
import { OutputFollower } from './output-follower.ts'
import { type OutputChunk, OutputQueue } from './output-queue.ts'
import { StdinWriter } from './stdin-writer.ts'

/** How an exec ended, and what of its output this handle was told is gone. */
export interface ExecEnd extends ExecResult {
  gaps: Gap[]
}

export interface ExecSource {
  id: string
  key: string
  from: number
  start: ((from: number) => GatewayRequest) | undefined
  /** The sandbox's path in the API. */
  sandboxPath: string
  /** The exec waits for this reader. */
  block: boolean
  /** Bytes of stdin that were written before; undefined when the exec takes none. */
  stdinAt: number | undefined
  boundMs: number | undefined
  signal: AbortSignal | undefined
}

/** A started exec: its output as it comes, its input, its result. Connections may come and go underneath. */
export class Exec {
  /** The idempotency key. */
  readonly key: string
  readonly #connection: GatewayConnection
  readonly #source: ExecSource
  readonly #queue: OutputQueue
  readonly #follower: OutputFollower
  readonly #end: Promise<ExecEnd>
  readonly #gaps: Gap[] = []
  #stdin: StdinWriter | undefined

  /** Use `sandbox.spawn` or `sandbox.attach`. */
  constructor(connection: GatewayConnection, source: ExecSource) {
    this.key = source.key
    this.#connection = connection
    this.#source = source
    this.#queue = new OutputQueue({ pause: () => this.#follower.pause(), resume: () => this.#follower.resume() })
    const sink: OutputSink = {
      data: (stream, bytes, offset) => this.#queue.data(stream, bytes, offset),
      gap: (gap) => {
        this.#gaps.push(gap)
        this.#queue.gap(gap)
      },
    }
    const { id, from, start, signal, sandboxPath, block, boundMs } = source
    const follow = (execId: string, at: number) => followRequest(execPath(sandboxPath, execId), at, block)
    this.#follower = new OutputFollower(connection, { execId: id, from, start, follow, sink, boundMs, signal })
    this.#end = this.#follower.result.then((result) => ({ ...result, gaps: this.#gaps }))
    this.#end.then(
      () => this.#queue.end(),
      (error) => this.#queue.end(error),
    )
    this.#end.catch(() => {}).finally(() => this.#stdin?.abandon())
  }

  get id(): string {
    return this.#follower.execId
  }

  /** Resolves when the exec is known to have started. @throws typed: `not_found/program_not_found` and the like. */
  get started(): Promise<void> {
    return this.#follower.started
  }

  /** Journal offset up to which output was taken: where `sandbox.attach(id, { from })` would go on. */
  get offset(): number {
    return this.#follower.offset
  }

  /** Output in the order it was written, both streams and gaps, pulled by its one reader. Breaking out lets the rest go. */
  get output(): AsyncIterable<OutputChunk> {
    return this.#queue
  }

  /**
   * How it ended. Rejects with facts `{execId, offset}` when it did not run to its end. Awaiting this while nobody iterates
   * `output` lets the output go, because the result comes behind it.
   */
  get result(): Promise<ExecEnd> {
    // A reader that starts in the same turn (`Promise.all([read(exec.output), exec.result])`) still gets everything.
    setImmediate(() => this.#queue.discard())
    return this.#end
  }

  /** Standard input. @throws `failed_precondition/no_stdin` when the exec was started without. */
  get stdin(): StdinWriter {
    const { stdinAt } = this.#source
    if (stdinAt === undefined) {
      throw new CoppiceError('failed_precondition', 'no_stdin', 'This exec was started without standard input.', {
        hint: "Start it with { stdin: 'stream' }.",
      })
    }
    this.#stdin ??= new StdinWriter(this.#connection, this.#path, stdinAt)
    return this.#stdin
  }

  /** The exec as the supervisor sees it. */
  inspect(): Promise<ExecInfo> {
    return this.#connection.json({ method: 'GET', path: this.#path }, true)
  }

  /** Sends a signal to the process group, with `tree` to every descendant. KILL always reaches all. Default `TERM`. */
  async signal(signal = 'TERM', options: { tree?: boolean } = {}): Promise<void> {
    const json = { signal, tree: options.tree === true }
    await this.#connection.json({ method: 'POST', path: `${this.#path}/signal`, json }, false)
  }

  /** Changes the size of the terminal. */
  async resize(cols: number, rows: number): Promise<void> {
    await this.#connection.json({ method: 'POST', path: `${this.#path}/resize`, json: { cols, rows } }, true)
  }

  get #path(): string {
    return execPath(this.#source.sandboxPath, this.id)
  }

  /** Lets go of it: the exec goes on, `result` rejects with `cancelled/detached`, and `sandbox.attach` finds it again. */
  detach(): void {
    this.#stdin?.abandon()
    this.#follower.detach(
      new CoppiceError('cancelled', 'detached', 'This handle was detached from its exec, which goes on.'),
    )
  }
}

/** The call that starts an exec, the same each time but for the offset. */
export function startRequest(sandboxPath: string, spec: IdentifiedSpec): (from: number) => GatewayRequest {
  return (from) => ({ method: 'POST', path: `${sandboxPath}/execs?from=${from}&follow=1`, json: spec })
}

/** The call that follows an exec from an offset. @param block makes the exec wait for this reader. */
export function followRequest(path: string, from: number, block: boolean): GatewayRequest {
  return { method: 'GET', path: `${path}/output?from=${from}&follow=1${block ? '&block=1' : ''}` }
}

/** An exec's path in the API. */
export function execPath(sandboxPath: string, execId: string): string {
  return `${sandboxPath}/execs/${encodeURIComponent(execId)}`
}
