import { readFileSync } from 'node:fs'
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

const SIGKILL = 9

/** One memory and one freezer cgroup for each name. */
export class CgroupV1 implements Hierarchy {
  readonly kind = 'cgroup-v1'
  readonly #memory: string
  readonly #freezer: string

  /** `root` holds the writable folders `memory` and `freezer`. */
  constructor(root: string) {
    this.#memory = join(root, 'memory')
    this.#freezer = join(root, 'freezer')
  }

  prepare(): void {}

  list(): Iterable<string> {
    return new Set([...listGroups(this.#memory), ...listGroups(this.#freezer)])
  }

  make(name: string): void {
    const memory = join(this.#memory, name)
    makeGroup(memory)
    try {
      makeGroup(join(this.#freezer, name))
    } catch (error) {
      removeGroup(memory)
      throw error
    }
  }

  at(name: string): Group {
    return new GroupV1(join(this.#memory, name), join(this.#freezer, name))
  }
}

class GroupV1 implements Group {
  readonly prologue: string
  readonly #memory: string
  readonly #freezer: string

  constructor(memory: string, freezer: string) {
    this.#memory = memory
    this.#freezer = freezer
    const enter = (group: string) => `echo 0 >${quote(join(group, 'cgroup.procs'))}`
    this.prologue = `${enter(memory)} && ${enter(freezer)}`
  }

  populated(): boolean {
    return this.#pids().length > 0
  }

  async signalAll(signal: number): Promise<void> {
    await this.#freeze()
    try {
      signalPids(this.#pids(), signal)
    } finally {
      this.#state('THAWED')
    }
  }

  killAll(): Promise<void> {
    return this.signalAll(SIGKILL)
  }

  oomKilled(): boolean {
    return readCounter(join(this.#memory, 'memory.oom_control'), 'oom_kill') > 0
  }

  remove(): boolean {
    const memory = removeGroup(this.#memory)
    return removeGroup(this.#freezer) && memory
  }

  #pids(): number[] {
    return readPids(join(this.#freezer, 'cgroup.procs'))
  }

  async #freeze(): Promise<void> {
    this.#state('FROZEN')
    const frozen = () => readFileSync(join(this.#freezer, 'freezer.state'), 'latin1').startsWith('FROZEN')
    // A process that does not stop in time is signalled all the same; `kill` looks again until nothing is left.
    await until(frozen, FREEZE_LIMIT_MS)
  }

  #state(state: 'FROZEN' | 'THAWED'): void {
    writeControl(join(this.#freezer, 'freezer.state'), state)
  }
}
