import type { Limits, Progress, ResourceUse } from '@coppice/protocol/wire'
import type { InterceptPlan, SandboxSpec, SavedFiles } from '../driver.ts'
import type { ProcessIdentity } from '../host/process.ts'
import type { SandboxFolder } from './folder.ts'
import type { SandboxEnd, SandboxRecord } from './record.ts'

/**
 * What an engine that is a daemon tells by itself. `ended`: something in a sandbox's life changed, look at it. `gone`: its files
 * went with it, and nobody here asked for that.
 */
export type EngineNews = (id: string, what: 'ended' | 'gone') => void

/**
 * What differs between drivers whose init is a process of this host. The life cycle (records, adoption, exit watching, order of
 * steps) is the same for all of them and is in `HostDriver`.
 */
export interface Engine {
  /**
   * Makes what a run needs and starts the init. `fresh` on the first run: the files are made too. May leave anything half-made
   * when it fails: `release` finds it.
   */
  launch(folder: SandboxFolder, spec: SandboxSpec, fresh: boolean, progress: Progress): Promise<ProcessIdentity>
  /**
   * Kills whatever is left of a run and gives back everything but its files: mounts, cgroups, engine state. Does nothing when
   * there is nothing, works on half-made runs and without a record.
   */
  release(folder: SandboxFolder, record: SandboxRecord | undefined): Promise<void>
  /** SIGKILL to everything that runs in a sandbox, the init included. Need not wait for its end. */
  kill(folder: SandboxFolder, init: ProcessIdentity): Promise<void>
  /** Ids that hold something outside their folder. */
  leftovers(): Promise<string[]>
  /** Resource use now. Members that are unknown are null. */
  use(folder: SandboxFolder, record: SandboxRecord): ResourceUse
  /**
   * See `Driver.resize`. Called while `init` lives, which may end meanwhile. Absent where limits are fixed at the start, or are none.
   */
  resize?(folder: SandboxFolder, init: ProcessIdentity, limits: Limits, progress: Progress): Promise<void>
  /** See `Driver.saveFiles`. Called for sandboxes whose files are whole. Absent where they cannot be saved. */
  saveFiles?(folder: SandboxFolder, progress: Progress): Promise<SavedFiles>
  /** True when the kernel killed the init (not an exec) for memory. Asked before `release`. */
  initOomKilled(folder: SandboxFolder): boolean
  /** See `Driver.intercept`. Called while `init` lives, which may end meanwhile. */
  intercept(init: ProcessIdentity, plan: InterceptPlan, progress: Progress): Promise<{ ok: boolean; detail: string }>
  /** Says more about an end that has been explained, from what only the engine knows. Asked before `release`. */
  refineEnd?(folder: SandboxFolder, record: SandboxRecord, end: SandboxEnd): Promise<SandboxEnd>
  /** Called just before a running sandbox is ended, and now and then: for engines that cannot measure what is dead. */
  sample?(folder: SandboxFolder, init: ProcessIdentity): void
  /** The end of the init's output, where it is not in the folder's own log. */
  output?(folder: SandboxFolder, maxBytes: number): Promise<Buffer>
  /** Gives back the files, where they are not in the folder. Called after `release`, before the folder is removed. */
  discard?(folder: SandboxFolder): Promise<void>
  /** Listens until the returned function is called. */
  listen?(news: EngineNews): () => void
  /** Asked now and then, when no launch is under way: gives back what is shared by all sandboxes and no longer needed. */
  idle(): void
}
