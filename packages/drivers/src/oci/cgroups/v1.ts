import { chownSync, writeFileSync } from 'node:fs'
import type { Limits, Progress, ResourceUse } from '@coppice/protocol/wire'
import { memoryInUse } from '../../lifecycle/refusal.ts'
import type { OciMount, OciResources } from '../oci-types.ts'
import type { SandboxCgroups } from './cgroups.ts'
import { CPU_PERIOD_US, cpuQuota, cpuShares } from './cpu.ts'
import { Settings } from './settings.ts'
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

/** Hierarchies in which execs get groups of their own: to be frozen and killed as a whole, and to tell whose OOM kill it was. */
const DELEGATED = ['memory', 'freezer'] as const

/** Above this the kernel means "no limit". */
const UNLIMITED = 2 ** 62

/** Version 1: one tree for each controller. */
export class CgroupsV1 implements SandboxCgroups {
  readonly version = 1
  readonly adopts = false
  readonly #controllers: Map<string, string>
  readonly #home: string
  readonly #swapAccounting: boolean

  /** `controllers`: name → mount point. `home`: path of the home's group under each of them, `/coppice/<8 hex>`. */
  constructor(controllers: Map<string, string>, home: string) {
    this.#controllers = controllers
    this.#home = home
    this.#swapAccounting = readNumber(`${controllers.get('memory')}/memory.memsw.limit_in_bytes`) !== null
  }

  runcPath(id: string): string {
    return `${this.#home}/${id}`
  }

  async prepare(id: string, owner: number): Promise<void> {
    // In every hierarchy and before runc does it: an empty parent is removed when the last sandbox goes, maybe right now.
    for (const mount of new Set(this.#controllers.values())) makeGroup(`${mount}${this.runcPath(id)}`)
    for (const controller of DELEGATED) {
      const execs = `${this.#group(controller, id)}/execs`
      makeGroup(execs)
      for (const path of [execs, `${execs}/tasks`, `${execs}/cgroup.procs`]) chownSync(path, owner, owner)
    }
  }

  resources(limits: Limits): OciResources {
    const limit = limits.memoryMB * 1024 * 1024
    return {
      // memsw counts memory and swap together: the same figure for both means no swap.
      memory: this.#swapAccounting ? { limit, swap: limit } : { limit },
      cpu: { quota: cpuQuota(limits.cpus), period: CPU_PERIOD_US, shares: cpuShares(limits.cpus) },
      pids: { limit: limits.pids },
    }
  }

  mounts(id: string): OciMount[] {
    return DELEGATED.map((controller) => ({
      destination: `/.coppice-cgroup/${controller}`,
      type: 'bind',
      source: `${this.#group(controller, id)}/execs`,
      options: ['bind', 'nosuid', 'nodev', 'noexec'],
    }))
  }

  adopt(): void {}

  use(id: string): ResourceUse {
    const memory = this.#group('memory', id)
    const pids = this.#group('pids', id)
    const limit = readNumber(`${memory}/memory.limit_in_bytes`)
    const nanoseconds = readNumber(`${this.#group('cpuacct', id)}/cpuacct.usage`)
    const cpu = this.#group('cpu', id)
    const quota = readNumber(`${cpu}/cpu.cfs_quota_us`)
    const period = readNumber(`${cpu}/cpu.cfs_period_us`)
    const kills = groupsUnder(memory).map((group) => readKey(`${group}/memory.oom_control`, 'oom_kill'))
    return {
      memoryBytes: readNumber(`${memory}/memory.usage_in_bytes`),
      memoryPeakBytes: readNumber(`${memory}/memory.max_usage_in_bytes`),
      memoryLimitBytes: limit === null || limit > UNLIMITED ? null : limit,
      cpuSeconds: nanoseconds === null ? null : nanoseconds / 1e9,
      pids: readNumber(`${pids}/pids.current`),
      pidsLimit: readNumber(`${pids}/pids.max`),
      cpusLimit: quota === null || period === null ? null : quota / period,
      oomKills: kills.length === 0 ? null : kills.reduce<number>((sum, count) => sum + (count ?? 0), 0),
      at: Date.now(),
    }
  }

  async resize(id: string, limits: Limits, progress: Progress): Promise<void> {
    const [cpu, memory] = [this.#group('cpu', id), this.#group('memory', id)]
    const bytes = limits.memoryMB * 1024 * 1024
    const settings = new Settings(id)
    try {
      settings.write({ path: `${cpu}/cpu.cfs_quota_us`, value: String(cpuQuota(limits.cpus)) })
      settings.write({ path: `${cpu}/cpu.shares`, value: String(cpuShares(limits.cpus)) })
      settings.write({ path: `${this.#group('pids', id)}/pids.max`, value: String(limits.pids) })
      for (const name of this.#memoryFiles(memory, bytes)) {
        if (!(await settings.writeSlowly({ path: `${memory}/${name}`, value: String(bytes) }, progress)))
          throw memoryInUse(id, bytes, readNumber(`${memory}/memory.usage_in_bytes`))
      }
    } catch (cause) {
      settings.undo()
      throw cause
    }
  }

  /** In the order in which memory alone never has a higher limit than memory and swap together: the kernel refuses that. */
  #memoryFiles(group: string, bytes: number): string[] {
    const names = ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes']
    if (!this.#swapAccounting) return names.slice(0, 1)
    return bytes > (readNumber(`${group}/${names[1]}`) ?? 0) ? names.reverse() : names
  }

  initOomKills(id: string): number {
    return readKey(`${this.#group('memory', id)}/memory.oom_control`, 'oom_kill') ?? 0
  }

  freeze(id: string, progress: Progress): Promise<void> {
    const file = `${this.#group('freezer', id)}/freezer.state`
    const hold = () => writeFileSync(file, 'FROZEN')
    const letGo = () => this.unfreeze(id)
    const isFrozen = () => readText(file)?.trim() === 'FROZEN'
    return stillness(id, { hold, letGo, isFrozen }, progress)
  }

  unfreeze(id: string): void {
    writeIfThere(`${this.#group('freezer', id)}/freezer.state`, 'THAWED')
  }

  thaw(id: string): void {
    // Outermost first: a group thaws only when those above it are not frozen.
    for (const group of groupsUnder(this.#group('freezer', id)).reverse())
      writeIfThere(`${group}/freezer.state`, 'THAWED')
  }

  async destroy(id: string): Promise<void> {
    // A frozen process does not die, and the init of its PID namespace waits for it.
    this.thaw(id)
    for (const controller of ['pids', ...DELEGATED]) {
      const group = this.#group(controller, id)
      await killAll(() => groupsUnder(group).flatMap((path) => readNumbers(`${path}/cgroup.procs`) ?? []), group)
    }
    for (const mount of new Set(this.#controllers.values())) await removeGroup(`${mount}${this.runcPath(id)}`)
  }

  ids(): string[] {
    return [...new Set([...this.#controllers.values()].flatMap((mount) => childrenOf(`${mount}${this.#home}`)))]
  }

  prune(): void {
    for (const mount of new Set(this.#controllers.values())) pruneParents(`${mount}${this.#home}`)
  }

  #group(controller: string, id: string): string {
    return `${this.#controllers.get(controller)}${this.runcPath(id)}`
  }
}
