import { chownSync, writeFileSync } from 'node:fs'
import { CoppiceError, type Limits, type Progress, type ResourceUse } from '@coppice/protocol/wire'
import { memoryInUse } from '../../lifecycle/refusal.ts'
import type { OciMount, OciResources } from '../oci-types.ts'
import type { SandboxCgroups } from './cgroups.ts'
import { CPU_PERIOD_US, cpuQuota, cpuWeight } from './cpu.ts'
import { Settings } from './settings.ts'
import { squeezed } from './squeeze.ts'
import { stillness } from './stillness.ts'
import {
  childrenOf,
  groupsUnder,
  killAll,
  makeGroup,
  pruneParents,
  readKey,
  readNumber,
  readNumbers,
  readText,
  removeGroup,
  writeIfThere,
} from './tree.ts'

/** Handed down to the sandboxes. `cpu` and `memory` and `pids` are limits; without them `create` fails rather than being weaker. */
const CONTROLLERS = ['memory', 'pids', 'cpu'] as const

/** Groups cost the host memory; a sandbox needs one for each running exec. */
const MAX_DESCENDANTS = 16_384
const MAX_DEPTH = 16

/**
 * Version 2: one tree.
 *
 * ```
 * coppice/<home>/<id>          limits; root of the sandbox's cgroup namespace; runc's container
 * coppice/<home>/<id>/init     init and supervisor: a group with sub-groups may hold no processes itself
 * coppice/<home>/<id>/execs    the sandbox root's own, mounted at /.coppice-cgroup
 * ```
 *
 * The namespace's root is above both leaves because `nsdelegate` (systemd's mount option) refuses moves that leave it. To move
 * a process from `init` to `execs/…` its mover must be able to write `cgroup.procs` of the group that both have in common:
 * that file is the sandbox's too, and reaches it through no mount that can be written.
 */
export class CgroupsV2 implements SandboxCgroups {
  readonly version = 2
  readonly adopts = true
  readonly #mount: string
  readonly #home: string

  /** `mount`: where the tree is. `home`: path of the home's group in it, `/coppice/<8 hex>`. */
  constructor(mount: string, home: string) {
    this.#mount = mount
    this.#home = home
  }

  runcPath(id: string): string {
    return `${this.#home}/${id}`
  }

  async prepare(id: string, owner: number): Promise<void> {
    const group = this.#group(id)
    makeGroup(group)
    let parent = this.#mount
    for (const name of this.#home.split('/').filter(Boolean)) {
      enableControllers(parent)
      parent = `${parent}/${name}`
    }
    enableControllers(parent)
    const available = readText(`${group}/cgroup.controllers`)?.trim().split(' ') ?? []
    const missing = CONTROLLERS.filter((controller) => !available.includes(controller))
    if (missing.length > 0) {
      throw new CoppiceError(
        'unavailable',
        'cgroup_controllers_missing',
        `The cgroup controllers ${missing.join(', ')} are not available.`,
        {
          retryable: false,
          facts: { missing, available },
          hint: `cat ${this.#mount}/cgroup.controllers ${this.#mount}/cgroup.subtree_control`,
        },
      )
    }
    writeIfThere(`${group}/cgroup.max.depth`, String(MAX_DEPTH))
    writeIfThere(`${group}/cgroup.max.descendants`, String(MAX_DESCENDANTS))
    for (const name of ['init', 'execs']) makeGroup(`${group}/${name}`)
    const execs = `${group}/execs`
    const handed = [execs, ...DELEGATED_FILES.map((file) => `${execs}/${file}`), `${group}/cgroup.procs`]
    for (const path of handed) chownSync(path, owner, owner)
  }

  resources(limits: Limits): OciResources {
    const limit = limits.memoryMB * 1024 * 1024
    return {
      // runc counts as version 1 does: memory and swap together; it writes the difference, 0, to memory.swap.max.
      memory: { limit, swap: limit },
      cpu: { quota: cpuQuota(limits.cpus), period: CPU_PERIOD_US },
      pids: { limit: limits.pids },
      // Each generation of runc makes another weight out of the shares of version 1.
      unified: { 'cpu.weight': String(cpuWeight(limits.cpus)) },
    }
  }

  mounts(id: string): OciMount[] {
    return [
      {
        destination: '/.coppice-cgroup',
        type: 'bind',
        source: `${this.#group(id)}/execs`,
        options: ['bind', 'nosuid', 'nodev', 'noexec'],
      },
    ]
  }

  adopt(id: string, pid: number): void {
    const group = this.#group(id)
    writeFileSync(`${group}/init/cgroup.procs`, String(pid))
    for (const path of [group, `${group}/execs`]) enableControllers(path)
  }

  use(id: string): ResourceUse {
    const group = this.#group(id)
    const microseconds = readKey(`${group}/cpu.stat`, 'usage_usec')
    return {
      memoryBytes: readNumber(`${group}/memory.current`),
      memoryPeakBytes: readNumber(`${group}/memory.peak`),
      memoryLimitBytes: readNumber(`${group}/memory.max`),
      cpuSeconds: microseconds === null ? null : microseconds / 1e6,
      pids: readNumber(`${group}/pids.current`),
      pidsLimit: readNumber(`${group}/pids.max`),
      cpusLimit: readQuota(`${group}/cpu.max`),
      oomKills: readKey(`${group}/memory.events`, 'oom_kill'),
      at: Date.now(),
    }
  }

  async resize(id: string, limits: Limits, progress: Progress): Promise<void> {
    const group = this.#group(id)
    const bytes = limits.memoryMB * 1024 * 1024
    const settings = new Settings(id)
    try {
      settings.write({ path: `${group}/cpu.max`, value: `${cpuQuota(limits.cpus)} ${CPU_PERIOD_US}` })
      settings.write({ path: `${group}/cpu.weight`, value: String(cpuWeight(limits.cpus)) })
      settings.write({ path: `${group}/pids.max`, value: String(limits.pids) })
      await squeezed(group, id, bytes, progress, async () => {
        if (!(await settings.writeSlowly({ path: `${group}/memory.max`, value: String(bytes) }, progress)))
          throw memoryInUse(id, bytes, readNumber(`${group}/memory.current`))
      })
    } catch (cause) {
      settings.undo()
      throw cause
    }
  }

  initOomKills(id: string): number {
    return readKey(`${this.#group(id)}/init/memory.events`, 'oom_kill') ?? 0
  }

  freeze(id: string, progress: Progress): Promise<void> {
    const group = this.#group(id)
    const hold = () => writeFileSync(`${group}/cgroup.freeze`, '1')
    const letGo = () => this.unfreeze(id)
    const isFrozen = () => readKey(`${group}/cgroup.events`, 'frozen') === 1
    return stillness(id, { hold, letGo, isFrozen }, progress)
  }

  unfreeze(id: string): void {
    writeIfThere(`${this.#group(id)}/cgroup.freeze`, '0')
  }

  thaw(id: string): void {
    for (const path of groupsUnder(this.#group(id)).reverse()) writeIfThere(`${path}/cgroup.freeze`, '0')
  }

  async destroy(id: string): Promise<void> {
    const group = this.#group(id)
    // Before Linux 5.14 there is no cgroup.kill: then they are killed one by one.
    writeIfThere(`${group}/cgroup.kill`, '1')
    await killAll(() => groupsUnder(group).flatMap((path) => readNumbers(`${path}/cgroup.procs`) ?? []), group)
    await removeGroup(group)
  }

  ids(): string[] {
    return childrenOf(`${this.#mount}${this.#home}`)
  }

  prune(): void {
    pruneParents(`${this.#mount}${this.#home}`)
  }

  #group(id: string): string {
    return `${this.#mount}${this.runcPath(id)}`
  }
}

/** What the kernel's `/sys/kernel/cgroup/delegate` names as needed by an owner. */
const DELEGATED_FILES = ['cgroup.procs', 'cgroup.threads', 'cgroup.subtree_control']

/** One by one: a controller that is not there must not keep the others away. */
function enableControllers(group: string): void {
  for (const controller of CONTROLLERS) writeIfThere(`${group}/cgroup.subtree_control`, `+${controller}`)
}

/** `QUOTA PERIOD` as cores; `max PERIOD` is no limit. */
function readQuota(path: string): number | null {
  const match = /^(\d+) (\d+)$/.exec(readText(path)?.trim() ?? '')
  return match ? Number(match[1]) / Number(match[2]) : null
}
