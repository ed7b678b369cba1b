import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { quote } from '../launch/script.ts'
import { listGroups, makeGroup, readCounter, readPids, removeGroup, signalPids, until, writeControl } from './cgroup.ts'
import type { KillScope, KillScopes, ScopeEntry, ScopeMark } from './kill-scope.ts'
import { sendSignal } from './processes.ts'

const SIGKILL = 9

/** Milliseconds for a freezer to stop its processes. One in an uninterruptible wait can take longer: then it is tried again. */
const FREEZE_LIMIT_MS = 200

/** Prefix of the groups that supervisors make. */
const PREFIX = 'x'

/** Scopes made of one memory and one freezer cgroup each, under folders that were delegated to the sandbox. */
export class CgroupV1Scopes implements KillScopes {
  readonly kind = 'cgroup-v1'
  readonly #root: string
  #next = 0
  readonly #released = new Set<CgroupV1Scope>()

  /** `root` holds the writable folders `memory` and `freezer`. */
  constructor(root: string) {
    this.#root = root
  }

  async create(): Promise<CgroupV1Scope> {
    const name = `${PREFIX}${this.#next++}`
    const memory = join(this.#root, 'memory', name)
    const freezer = join(this.#root, 'freezer', name)
    makeGroup(memory)
    try {
      makeGroup(freezer)
    } catch (error) {
      removeGroup(memory)
      throw error
    }
    return new CgroupV1Scope(memory, freezer, (scope) => this.#released.add(scope))
  }

  async clear(lost: readonly ScopeMark[]): Promise<void> {
    const names = new Set([...listGroups(join(this.#root, 'memory')), ...listGroups(join(this.#root, 'freezer'))])
    const left = [...names].filter((name) => name.startsWith(PREFIX))
    await Promise.all(
      left.map(async (name) => {
        const scope = new CgroupV1Scope(join(this.#root, 'memory', name), join(this.#root, 'freezer', name), () => {})
        if (lost.some((mark) => mark.scope === name)) await scope.kill()
        if (!scope.remove()) this.#released.add(scope)
        this.#next = Math.max(this.#next, Number.parseInt(name.slice(PREFIX.length), 10) + 1 || 0)
      }),
    )
  }

  sweep(): void {
    for (const scope of this.#released) if (scope.remove()) this.#released.delete(scope)
  }
}

class CgroupV1Scope implements KillScope {
  readonly name: string
  readonly entry: ScopeEntry
  readonly #memory: string
  readonly #freezer: string
  readonly #onRelease: (scope: CgroupV1Scope) => void
  #main = 0

  constructor(memory: string, freezer: string, onRelease: (scope: CgroupV1Scope) => void) {
    this.name = basename(memory)
    this.#memory = memory
    this.#freezer = freezer
    this.#onRelease = onRelease
    const enter = (group: string) => `echo 0 >${quote(join(group, 'cgroup.procs'))}`
    this.entry = { wrapper: [], prologue: `${enter(memory)} && ${enter(freezer)}` }
  }

  started(_launcher: number, main: number): void {
    this.#main = main
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

  signalGroup(signal: number): boolean {
    return sendSignal(-this.#main, signal)
  }

  hold(): void {}

  async kill(): Promise<void> {
    while (this.populated()) {
      await this.signalAll(SIGKILL)
      await until(() => !this.populated(), FREEZE_LIMIT_MS)
    }
  }

  oomKilled(): boolean {
    return readCounter(join(this.#memory, 'memory.oom_control'), 'oom_kill') > 0
  }

  waitStatus(): undefined {
    return undefined
  }

  release(): void {
    if (!this.remove()) this.#onRelease(this)
  }

  /** Removes both groups; false while something lives in one of them. */
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
