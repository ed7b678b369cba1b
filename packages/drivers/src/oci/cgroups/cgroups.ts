import type { Limits, ResourceUse } from '@coppice/protocol/wire'
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
  /** OOM kills of processes that are not in an exec's group: init and supervisor. */
  initOomKills(id: string): number
  /** Lets everything in the sandbox's group run on. */
  thaw(id: string): void
  /** Kills everything in the sandbox's group, frozen or not, until it is empty, then removes it. */
  destroy(id: string): Promise<void>
  /** Ids that have a group. */
  ids(): string[]
  /** Removes the home's own group when it is empty. */
  prune(): void
}
