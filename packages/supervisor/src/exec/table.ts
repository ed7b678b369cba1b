import { mkdirSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type ExecInfo,
  GENERATED_KEY_PREFIX,
  newExecId,
  newKey,
  type ResolvedExecSpec,
  type SupervisorConfig,
} from '@coppice/protocol/wire'
import { Journal, type JournalOptions } from '../journal/journal.ts'
import { salvageJournal } from '../journal/salvage.ts'
import type { FifoStore } from '../launch/fifo.ts'
import type { Launched } from '../launch/launched.ts'
import type { LauncherDeps } from '../launch/launcher.ts'
import { LauncherPool } from '../launch/pool.ts'
import { startTerminal } from '../launch/terminal.ts'
import { ExecLog } from '../log/exec-log.ts'
import type { ExecFacts } from '../log/records.ts'
import type { Tools } from '../paths.ts'
import type { KillScopes } from '../scope/kill-scope.ts'
import { readProcess } from '../scope/processes.ts'
import { EndedExec } from './ended-exec.ts'
import { execEnded, execNotFound, idInUse, keyExpired, keyReused, lostError, tooMany } from './errors.ts'
import { Exec } from './exec.ts'
import { defaultIdentity, type ExecPlan, type PlanContext, planExec, specDigest } from './plan.ts'
import type { ExecView } from './view.ts'

/** Each running exec takes three file descriptors or more; the usual limit of containers is 20,000 and up. */
export const MAX_RUNNING = 4096

/** Ended execs that stay in memory, with what the disk could not take of their output. All others are read from the log. */
const RECENT = 64

/** Milliseconds between two looks for what can be forgotten or freed. */
const SWEEP_MS = 15_000

export interface ExecTableOptions {
  readonly config: SupervisorConfig
  readonly stateDir: string
  readonly tools: Tools
  readonly fifos: FifoStore
  readonly scopes: Promise<KillScopes>
  /** No exec starts before. */
  readonly ready: Promise<void>
  /** Variables of the sandbox's way out, for the exec of this id; not those that one of `layers` sets. */
  readonly variables: (id: string, layers: readonly (Record<string, string> | undefined)[]) => Record<string, string>
}

/** Every exec of the sandbox that runs or is held: started once by key, found by id, forgotten after the retention time. */
export class ExecTable {
  readonly #options: ExecTableOptions
  readonly #journals: string
  readonly #log: ExecLog
  readonly #live = new Map<string, Exec>()
  readonly #recent = new Map<string, Exec>()
  readonly #starting = new Map<string, { specSha: string; exec: Promise<Exec> }>()
  #deps: Promise<{ launcher: LauncherDeps; pool: LauncherPool }> | undefined
  readonly #sweeper: NodeJS.Timeout

  constructor(options: ExecTableOptions) {
    this.#options = options
    this.#journals = join(options.stateDir, 'journals')
    mkdirSync(this.#journals, { recursive: true, mode: 0o700 })
    this.#log = new ExecLog(join(options.stateDir, 'execs.log'))
    this.#sweeper = setInterval(() => void this.#sweep(), SWEEP_MS).unref()
  }

  /** Ends what an earlier supervisor left running, and says so in the log. Call it once, before anything else. */
  async recover(): Promise<void> {
    const left = this.#log.running
    if (left.length > 0) await (await this.#options.scopes).clear(left.map((start) => start.launcher))
    for (const { t: _, launcher: __, ...facts } of left) {
      const journal = await salvageJournal(join(this.#journals, facts.id))
      const error = lostError(journal.end, 'its supervisor was killed while it ran')
      this.#log.append({ t: 'end', ...facts, endedAt: Date.now(), stdinAcknowledged: 0, result: null, error, journal })
    }
    for (const id of await readdir(this.#journals)) {
      if (!this.#log.hasEnded(id)) await rm(join(this.#journals, id), { recursive: true, force: true })
    }
  }

  get counts(): { running: number; held: number } {
    return { running: this.#live.size, held: this.#log.endedIds.length }
  }

  /** Bytes of output in memory, of all execs. */
  get journalMemoryBytes(): number {
    let bytes = 0
    for (const execs of [this.#live, this.#recent]) for (const exec of execs.values()) bytes += exec.journal.memory.cost
    return bytes
  }

  /**
   * Runs a command, or finds the exec that the key has already run. Throws the errors of `planExec` and of launching,
   * `conflict/key_reused`, `conflict/key_expired`, `conflict/id_in_use`, `resource_exhausted/too_many_execs`.
   */
  async start(spec: ResolvedExecSpec): Promise<ExecView> {
    const key = spec.key ?? newKey()
    const id = spec.id ?? newExecId()
    const specSha = specDigest(spec)
    const starting = this.#starting.get(key)
    const known = starting ?? this.#log.byKey(key)
    if (known && known.specSha !== specSha) throw keyReused(key)
    if (starting) return starting.exec
    const former = this.#log.byKey(key)
    if (former) {
      const held = this.#find(former.id)
      if (held) return held
      throw keyExpired(key)
    }
    if (this.#find(id)) throw idInUse(id)
    if (this.#live.size + this.#starting.size >= MAX_RUNNING) throw tooMany(MAX_RUNNING)
    const exec = this.#start(spec, { id, key, specSha })
    this.#starting.set(key, { specSha, exec })
    try {
      return await exec
    } finally {
      this.#starting.delete(key)
    }
  }

  /** Throws `not_found/exec_not_found`. */
  get(id: string): ExecView {
    const found = this.#find(id)
    if (found) return found
    throw execNotFound(id)
  }

  /** The same, for what only running execs do. Throws also `failed_precondition/exec_ended`. */
  running(id: string): Exec {
    const found = this.get(id)
    if (found instanceof Exec) return found
    throw execEnded(id)
  }

  /** Running execs first, then held ones, oldest first. */
  list(): ExecInfo[] {
    const running = [...this.#live.values()]
    const ended = this.#log.endedIds.filter((id) => !this.#live.has(id)).map((id) => this.#find(id))
    return [...running, ...ended].flatMap((view) => (view ? [view.info()] : []))
  }

  /** Ends every exec and resolves when their ends are in the log. */
  async close(graceMs: number): Promise<void> {
    clearInterval(this.#sweeper)
    await Promise.allSettled([...this.#starting.values()].map(({ exec }) => exec))
    const live = [...this.#live.values()]
    await Promise.all(live.map((exec) => exec.terminate(graceMs).then(() => exec.finished)))
    if (this.#deps) (await this.#deps).pool.close()
    await this.#log.close()
  }

  #find(id: string): ExecView | undefined {
    const inMemory = this.#live.get(id) ?? this.#recent.get(id)
    if (inMemory) return inMemory
    const record = this.#log.ended(id)
    return record && new EndedExec(record, this.#journalOptions(id))
  }

  async #start(spec: ResolvedExecSpec, names: Pick<ExecFacts, 'id' | 'key' | 'specSha'>): Promise<Exec> {
    const { config, tools, ready } = this.#options
    await ready
    const variables: PlanContext['variables'] = (layers) => this.#options.variables(names.id, layers)
    const plan = planExec(spec, { defaults: config.defaults, variables, busybox: tools.busybox })
    const launched = await this.#launch(spec, plan)
    const facts: ExecFacts = {
      ...names,
      argv: plan.argv,
      cwd: plan.cwd,
      user: plan.user,
      pty: spec.pty !== undefined,
      startedAt: Date.now(),
    }
    try {
      const startTime = readProcess(launched.launcher)?.startTime ?? 0
      const launcher = { pid: launched.launcher, startTime, scope: launched.scope.name }
      this.#log.append({ t: 'start', ...facts, launcher })
      if (!names.key.startsWith(GENERATED_KEY_PREFIX)) await this.#log.sync()
    } catch (error) {
      launched.dispose()
      throw error
    }
    const exec = new Exec({
      spec,
      facts,
      launched,
      journal: new Journal(this.#journalOptions(facts.id)),
      drainMs: config.drainMs,
      boundMs: config.boundMs,
      record: (end) => this.#log.append(end),
    })
    this.#live.set(facts.id, exec)
    void exec.finished.then(() => this.#retire(exec))
    launched.run(plan.script)
    return exec
  }

  async #launch(spec: ResolvedExecSpec, plan: ExecPlan): Promise<Launched> {
    this.#deps ??= this.#prepare()
    const { launcher, pool } = await this.#deps
    return spec.pty ? startTerminal(launcher, plan.identity, spec.pty) : pool.take(plan.identity)
  }

  /** Gets ready for the first exec. What is wrong is reported by that one. */
  async warmUp(): Promise<void> {
    try {
      this.#deps ??= this.#prepare()
      const { pool } = await this.#deps
      pool.prepare(defaultIdentity(this.#options.config.defaults))
    } catch {
      this.#deps = undefined
    }
  }

  async #prepare(): Promise<{ launcher: LauncherDeps; pool: LauncherPool }> {
    const { tools, fifos, scopes } = this.#options
    const launcher = { tools, fifos, scopes: await scopes }
    return { launcher, pool: new LauncherPool(launcher) }
  }

  #journalOptions(id: string): JournalOptions {
    return { dir: join(this.#journals, id), ...this.#options.config.journal }
  }

  #retire(exec: Exec): void {
    const { id } = exec.facts
    // One whose end could not be logged stays: there is no other place to read it from.
    if (!this.#log.hasEnded(id)) return
    this.#live.delete(id)
    this.#recent.set(id, exec)
    for (const oldest of this.#recent.keys()) {
      if (this.#recent.size <= RECENT) break
      this.#recent.delete(oldest)
    }
  }

  async #sweep(): Promise<void> {
    const before = Date.now() - this.#options.config.resultRetentionMs
    for (const id of this.#log.forget(before)) {
      this.#recent.delete(id)
      await rm(join(this.#journals, id), { recursive: true, force: true })
    }
    for (const [id, exec] of this.#live) if (exec.result && exec.result.endedAt < before) this.#live.delete(id)
    const scopes = await this.#options.scopes
    scopes.sweep()
  }
}
