import type { Progress, ResourceUse } from '@coppice/protocol/wire'
import type { SandboxSpec } from '../driver.ts'
import type { ProcessIdentity } from '../host/process.ts'
import type { SandboxFolder } from './folder.ts'
import type { SandboxRecord } from './record.ts'

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
  /** True when the kernel killed the init (not an exec) for memory. Asked before `release`. */
  initOomKilled(folder: SandboxFolder): boolean
  /** Asked now and then, when no launch is under way: gives back what is shared by all sandboxes and no longer needed. */
  idle(): void
}
