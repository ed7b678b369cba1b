import { setTimeout as sleep } from 'node:timers/promises'
import {
  CoppiceError,
  type ErrorBody,
  type ExecInfo,
  type ExecResult,
  type ResolvedExecSpec,
  StreamId,
} from '@coppice/protocol/wire'
import type { Journal } from '../journal/journal.ts'
import type { JournalReader } from '../journal/reader.ts'
import type { Launched } from '../launch/launched.ts'
import type { EndRecord, ExecFacts } from '../log/records.ts'
import { until } from '../scope/cgroup.ts'
import type { WaitStatus } from '../scope/kill-scope.ts'
import { signalNumber } from '../scope/signals.ts'
import { execEnded, lostError } from './errors.ts'
import { Flow } from './flow.ts'
import { Holders } from './holders.ts'
import { oomKillsOfMachine, oomVerdict } from './oom.ts'
import { Stdin } from './stdin.ts'
import type { ExecView } from './view.ts'

const SIGTERM = 15
const SIGKILL = 9

export interface ExecOptions {
  readonly spec: Pick<ResolvedExecSpec, 'stdin' | 'pty' | 'timeoutMs' | 'graceMs' | 'journal' | 'tied'>
  readonly facts: ExecFacts
  readonly launched: Launched
  readonly journal: Journal
  readonly drainMs: number
  readonly boundMs: number
  /** Puts the end into the log. Everything is told only after it has returned. */
  readonly record: (end: EndRecord) => void
}

/** One exec that runs, and then has run: its process, its journal, its input, its one end. */
export class Exec implements ExecView {
  readonly facts: ExecFacts
  readonly journal: Journal
  readonly stdin: Stdin
  readonly holders: Holders | undefined
  readonly #options: ExecOptions
  readonly #launched: Launched
  readonly #flow: Flow
  readonly #oomKillsBefore: number
  #timer: NodeJS.Timeout | undefined
  #timedOut = false
  #terminating: Promise<void> | undefined
  #killed = false
  #result: ExecResult | null = null
  #error: ErrorBody | null = null
  /** Resolves when the end is final and in the log. */
  readonly finished: Promise<void>

  constructor(options: ExecOptions) {
    const { spec, launched, journal } = options
    this.#options = options
    this.facts = options.facts
    this.journal = journal
    this.#launched = launched
    this.stdin = new Stdin(launched.input, spec.stdin === 'stream' || spec.pty !== undefined)
    this.#flow = new Flow(journal, launched.sources)
    this.#oomKillsBefore = oomKillsOfMachine()
    if (spec.tied) this.holders = new Holders(options.boundMs, () => void this.terminate(spec.graceMs))
    if (spec.timeoutMs !== undefined) this.#timer = setTimeout(() => this.#expire(), spec.timeoutMs)
    launched.sources.forEach((source, index) => {
      const stream = index === 0 ? StreamId.stdout : StreamId.stderr
      source.start((chunk) => {
        journal.append(stream, chunk)
        this.#flow.update()
      })
    })
    this.finished = launched.exited.then((status) => this.#finish(status))
  }

  get result(): ExecResult | null {
    return this.#result
  }

  get error(): ErrorBody | null {
    return this.#error
  }

  get ended(): boolean {
    return this.#result !== null || this.#error !== null
  }

  info(): ExecInfo {
    const { specSha: _, argv, ...facts } = this.facts
    return {
      ...facts,
      argv: [...argv],
      pid: this.ended ? null : this.#launched.main,
      state: this.#error ? 'lost' : this.#result ? 'exited' : 'running',
      outputStart: this.journal.start,
      outputEnd: this.journal.end,
      stdinAcknowledged: this.stdin.acknowledged,
      result: this.#result,
      error: this.#error,
    }
  }

  blockOn(reader: JournalReader): () => void {
    return this.#options.spec.journal === 'block' ? this.#flow.waitFor(reader) : () => {}
  }

  moved(): void {
    this.#flow.update()
  }

  /** Throws `failed_precondition/exec_ended` and `invalid_argument/unknown_signal`. */
  async signal(name: string, tree: boolean): Promise<void> {
    const signal = signalNumber(name)
    if (this.ended) throw execEnded(this.facts.id)
    const { scope } = this.#launched
    if (signal === SIGKILL) {
      this.#killed = true
      await scope.kill()
    } else if (tree) await scope.signalAll(signal)
    else if (!scope.signalGroup(signal)) throw execEnded(this.facts.id)
  }

  /** Throws `failed_precondition/exec_ended` and `failed_precondition/not_a_terminal`. */
  resize(cols: number, rows: number): void {
    if (this.ended) throw execEnded(this.facts.id)
    if (!this.#launched.resize) {
      throw new CoppiceError('failed_precondition', 'not_a_terminal', 'The exec does not run on a terminal.')
    }
    this.#launched.resize(cols, rows)
  }

  /** TERM to every process of the exec, KILL to what is left after `graceMs`. Resolves when nothing is left. */
  terminate(graceMs: number): Promise<void> {
    this.#terminating ??= this.#terminate(graceMs)
    return this.#terminating
  }

  #expire(): void {
    this.#timedOut = true
    void this.terminate(this.#options.spec.graceMs)
  }

  async #terminate(graceMs: number): Promise<void> {
    const { scope } = this.#launched
    scope.hold()
    await scope.signalAll(SIGTERM)
    await until(() => !scope.populated(), graceMs)
    this.#killed = true
    await scope.kill()
  }

  async #finish(status: WaitStatus | 'unknown'): Promise<void> {
    const endedAt = Date.now()
    clearTimeout(this.#timer)
    this.stdin.close()
    this.holders?.close()
    this.#flow.open()
    const { sources, scope } = this.#launched
    const drained = new AbortController()
    await Promise.race([
      Promise.all(sources.map((source) => source.ended)),
      sleep(this.#options.drainMs, undefined, { signal: drained.signal }).catch(() => {}),
    ])
    drained.abort()
    for (const source of sources) {
      source.drain()
      source.discard()
    }
    await this.#terminating
    const journal = await this.journal.finish()
    const { stdoutBytes, stderrBytes } = journal
    const machineKills = oomKillsOfMachine() - this.#oomKillsBefore
    const oomKilled = oomVerdict(scope.oomKilled(), status, this.#killed, machineKills)
    const result: ExecResult | null =
      status === 'unknown'
        ? null
        : {
            ...status,
            timedOut: this.#timedOut,
            oomKilled,
            startedAt: this.facts.startedAt,
            endedAt,
            stdoutBytes,
            stderrBytes,
          }
    const error = result ? null : lostError(journal.end, 'whatever waited for it was killed')
    this.#record({
      t: 'end',
      ...this.facts,
      endedAt,
      stdinAcknowledged: this.stdin.acknowledged,
      result,
      error,
      journal,
    })
    this.#result = result
    this.#error = error
    this.journal.wake()
    // After the end was told: removing a cgroup can take its time.
    setImmediate(() => scope.release())
  }

  /** A log that cannot be written to must not keep a result from its client: it is told, and lost only with the supervisor. */
  #record(end: EndRecord): void {
    try {
      this.#options.record(end)
    } catch (error) {
      process.stderr.write(
        `coppice-supervisor: the end of ${this.facts.id} is not in the log: ${(error as Error).message}\n`,
      )
    }
  }
}
