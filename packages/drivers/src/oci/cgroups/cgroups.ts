import type { Limits, Progress, ResourceUse } from '@coppice/protocol/wire'
import type { OciMount, OciResources } from '../oci-types.ts'

/** Where the host has its cgroups. Both layouts are found by `detectCgroups`. */
export type CgroupLayout = { version: 1; controllers: Map<string, string> } | { version: 2; mount: string }

/**
 * The cgroups of one home's sandboxes: `/coppice/<home>/<sandbox id>`. Limits sit on the sandbox's own group, which the sandbox
 * cannot write. Under it is `execs`, which belongs to the sandbox's root: the supervisor makes a group for each exec there.
 */
export interface SandboxCgroups {
  readonly version: 1 | 2
  /** `linux.cgroupsPath` of the runc configuration. */
  runcPath(id: string): string
  /** Makes the groups and hands `execs` to `owner` (host uid and gid of the sandbox's root). Before runc creates. */
  prepare(id: string, owner: number): Promise<void>
  /** Limits as runc shall set them on the sandbox's group. */
  resources(limits: Limits): OciResources
  /** Bind mounts of the delegated part, and the read-only view for programs that look up their limits. */
  mounts(id: string): OciMount[]
  /** After the container was created, before it is started: v2 allows no processes beside sub-groups. */
  adopt(id: string, pid: number): void
  /** True when `adopt` does something, so that creation and start must be two steps. */
  readonly adopts: boolean
  use(id: string): ResourceUse
  /**
   * Gives the sandbox's group other limits, while it runs: all of them, or none. CPU comes first and memory last: what has been
   * done before a refusal can then always be taken back. Memory that holds copies of files is given up for it. Throws
   * `failed_precondition/limits_refused`.
   */
  resize(id: string, limits: Limits, progress: Progress): Promise<void>
  /** OOM kills of processes that are not in an exec's group: init and supervisor. */
  initOomKills(id: string): number
  /**
   * Holds everything in the sandbox's group still; returns when nothing runs. What the sandbox has frozen itself is another matter.
   * Throws `unavailable/not_frozen` for what does not stop within seconds: then it runs on.
   */
  freeze(id: string, progress: Progress): Promise<void>
  /** Takes `freeze` back, and nothing else. */
  unfreeze(id: string): void
  /** Lets everything in the sandbox's group run on. */
  thaw(id: string): void
  /** Kills everything in the sandbox's group, frozen or not, until it is empty, then removes it. */
  destroy(id: string): Promise<void>
  /** Ids that have a group. */
  ids(): string[]
  /** Removes the home's own group when it is empty. */
  prune(): void
}
