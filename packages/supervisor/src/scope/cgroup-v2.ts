import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { quote } from '../launch/script.ts'
import {
  FREEZE_LIMIT_MS,
  listGroups,
  makeGroup,
  readCounter,
  readPids,
  removeGroup,
  signalPids,
  until,
  writeControl,
} from './cgroup.ts'
import type { Group, Hierarchy } from './cgroup-scopes.ts'
import type { OomVerdict } from './kill-scope.ts'

/** Group for init and supervisor: a group with children that have controllers may hold no process of its own. */
const OWN_GROUP = 'coppice'

/** One cgroup for each name, under the one that was delegated to the sandbox. Needs `cgroup.kill` (Linux 5.14). */
export class CgroupV2 implements Hierarchy {
  readonly kind = 'cgroup-v2'
  readonly #root: string

  constructor(root: string) {
    this.#root = root
  }

  prepare(): void {
    const own = join(this.#root, OWN_GROUP)
    if (!existsSync(own)) makeGroup(own)
    for (const pid of readPids(join(this.#root, 'cgroup.procs'))) writeControl(join(own, 'cgroup.procs'), String(pid))
    const offered = readFileSync(join(this.#root, 'cgroup.controllers'), 'latin1').trim().split(' ')
    if (offered.includes('memory')) writeControl(join(this.#root, 'cgroup.subtree_control'), '+memory')
    if (!existsSync(join(own, 'cgroup.kill'))) throw new Error('cgroup.kill is missing: Linux 5.14 is needed')
  }

  list(): Iterable<string> {
    return listGroups(this.#root)
  }

  make(name: string): void {
    makeGroup(join(this.#root, name))
  }

  at(name: string): Group {
    return new GroupV2(join(this.#root, name))
  }
}

class GroupV2 implements Group {
  readonly prologue: string
  readonly #dir: string

  constructor(dir: string) {
    this.#dir = dir
    this.prologue = `echo 0 >${quote(join(dir, 'cgroup.procs'))}`
  }

  populated(): boolean {
    return readCounter(join(this.#dir, 'cgroup.events'), 'populated') > 0
  }

  async signalAll(signal: number): Promise<void> {
    writeControl(join(this.#dir, 'cgroup.freeze'), '1')
    try {
      await until(() => readCounter(join(this.#dir, 'cgroup.events'), 'frozen') > 0, FREEZE_LIMIT_MS)
      signalPids(readPids(join(this.#dir, 'cgroup.procs')), signal)
    } finally {
      writeControl(join(this.#dir, 'cgroup.freeze'), '0')
    }
  }

  async killAll(): Promise<void> {
    writeControl(join(this.#dir, 'cgroup.kill'), '1')
  }

  oomKilled(): OomVerdict {
    const events = join(this.#dir, 'memory.events')
    return existsSync(events) ? readCounter(events, 'oom_kill') > 0 : 'unknown'
  }

  remove(): boolean {
    return removeGroup(this.#dir)
  }
}
