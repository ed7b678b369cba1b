import { FREEZE_LIMIT_MS, until } from './cgroup.ts'
import type { KillScope, KillScopes, OomVerdict, ScopeEntry, ScopeMark } from './kill-scope.ts'
import { sendSignal } from './processes.ts'

/** Prefix of the groups that supervisors make. */
const PREFIX = 'x'

/** A version of cgroups, under a folder that was delegated to the sandbox. */
export interface Hierarchy {
  readonly kind: 'cgroup-v1' | 'cgroup-v2'
  /** Makes the folder ready to hold groups. */
  prepare(): void
  /** Names of the groups in it, once each. */
  list(): Iterable<string>
  /** Makes the group of that name; nothing of it is left when that fails. */
  make(name: string): void
  /** The group of that name, whether it is there or not. */
  at(name: string): Group
}

/** What one name stands for: one cgroup, or one for each controller. */
export interface Group {
  /** Shell commands that put a shell into it. */
  readonly prologue: string
  populated(): boolean
  /** Sends a signal to every process in it at one moment. */
  signalAll(signal: number): Promise<void>
  /** Tells every process in it to end; one that has just been made may be missed. */
  killAll(): Promise<void>
  oomKilled(): OomVerdict
  /** Removes it; false while something lives in it. */
  remove(): boolean
}

/** Scopes made of cgroups, of whichever version. */
export class CgroupScopes implements KillScopes {
  readonly kind: Hierarchy['kind']
  readonly #hierarchy: Hierarchy
  #next = 0
  readonly #released = new Set<CgroupScope>()

  constructor(hierarchy: Hierarchy) {
    this.kind = hierarchy.kind
    this.#hierarchy = hierarchy
  }

  async create(): Promise<KillScope> {
    const name = `${PREFIX}${this.#next++}`
    this.#hierarchy.make(name)
    return this.#scope(name)
  }

  async clear(lost: readonly ScopeMark[]): Promise<void> {
    this.#hierarchy.prepare()
    const left = [...this.#hierarchy.list()].filter((name) => name.startsWith(PREFIX))
    await Promise.all(
      left.map(async (name) => {
        const scope = this.#scope(name)
        if (lost.some((mark) => mark.scope === name)) await scope.kill()
        scope.release()
        this.#next = Math.max(this.#next, Number.parseInt(name.slice(PREFIX.length), 10) + 1 || 0)
      }),
    )
  }

  sweep(): void {
    for (const scope of this.#released) if (scope.remove()) this.#released.delete(scope)
  }

  #scope(name: string): CgroupScope {
    return new CgroupScope(name, this.#hierarchy.at(name), (scope) => this.#released.add(scope))
  }
}

class CgroupScope implements KillScope {
  readonly name: string
  readonly entry: ScopeEntry
  readonly #group: Group
  readonly #onHeld: (scope: CgroupScope) => void
  #main = 0

  /** `onHeld` is told when it was released while something lived in it. */
  constructor(name: string, group: Group, onHeld: (scope: CgroupScope) => void) {
    this.name = name
    this.entry = { wrapper: [], opening: '', prologue: group.prologue }
    this.#group = group
    this.#onHeld = onHeld
  }

  started(_launcher: number, main: number): void {
    this.#main = main
  }

  populated(): boolean {
    return this.#group.populated()
  }

  signalAll(signal: number): Promise<void> {
    return this.#group.signalAll(signal)
  }

  signalGroup(signal: number): boolean {
    return sendSignal(-this.#main, signal)
  }

  hold(): void {}

  async kill(): Promise<void> {
    while (this.populated()) {
      await this.#group.killAll()
      await until(() => !this.populated(), FREEZE_LIMIT_MS)
    }
  }

  oomKilled(): OomVerdict {
    return this.#group.oomKilled()
  }

  waitStatus(): undefined {
    return undefined
  }

  release(): void {
    if (!this.remove()) this.#onHeld(this)
  }

  /** False while something lives in it. */
  remove(): boolean {
    return this.#group.remove()
  }
}
