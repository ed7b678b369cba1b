import { existsSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { quote } from '../launch/script.ts'
import { listGroups, makeGroup, readCounter, readPids, removeGroup, signalPids, until, writeControl } from './cgroup.ts'
import type { KillScope, KillScopes, OomVerdict, ScopeEntry, ScopeMark } from './kill-scope.ts'
import { sendSignal } from './processes.ts'

const FREEZE_LIMIT_MS = 200
const PREFIX = 'x'

/** Group for init and supervisor: a group with children that have controllers may hold no process of its own. */
const OWN_GROUP = 'coppice'

/** Scopes made of one cgroup each, under the cgroup that was delegated to the sandbox. Needs `cgroup.kill` (Linux 5.14). */
export class CgroupV2Scopes implements KillScopes {
  readonly kind = 'cgroup-v2'
  readonly #root: string
  #next = 0
  readonly #released = new Set<CgroupV2Scope>()

  constructor(root: string) {
    this.#root = root
  }

  async create(): Promise<CgroupV2Scope> {
    const dir = join(this.#root, `${PREFIX}${this.#next++}`)
    makeGroup(dir)
    return new CgroupV2Scope(dir, (scope) => this.#released.add(scope))
  }

  /** Also makes the root ready: a group with controllers for its children may hold no process of its own. */
  async clear(lost: readonly ScopeMark[]): Promise<void> {
    this.#divide()
    const left = listGroups(this.#root).filter((name) => name.startsWith(PREFIX))
    await Promise.all(
      left.map(async (name) => {
        const scope = new CgroupV2Scope(join(this.#root, name), () => {})
        if (lost.some((mark) => mark.scope === name)) await scope.kill()
        if (!scope.remove()) this.#released.add(scope)
        this.#next = Math.max(this.#next, Number.parseInt(name.slice(PREFIX.length), 10) + 1 || 0)
      }),
    )
  }

  #divide(): void {
    const own = join(this.#root, OWN_GROUP)
    if (!existsSync(own)) makeGroup(own)
    for (const pid of readPids(join(this.#root, 'cgroup.procs'))) writeControl(join(own, 'cgroup.procs'), String(pid))
    const offered = readFileSync(join(this.#root, 'cgroup.controllers'), 'latin1').trim().split(' ')
    if (offered.includes('memory')) writeControl(join(this.#root, 'cgroup.subtree_control'), '+memory')
    if (!existsSync(join(own, 'cgroup.kill'))) throw new Error('cgroup.kill is missing: Linux 5.14 is needed')
  }

  sweep(): void {
    for (const scope of this.#released) if (scope.remove()) this.#released.delete(scope)
  }
}

class CgroupV2Scope implements KillScope {
  readonly name: string
  readonly entry: ScopeEntry
  readonly #dir: string
  readonly #onRelease: (scope: CgroupV2Scope) => void
  #main = 0

  constructor(dir: string, onRelease: (scope: CgroupV2Scope) => void) {
    this.name = basename(dir)
    this.#dir = dir
    this.#onRelease = onRelease
    this.entry = { wrapper: [], prologue: `echo 0 >${quote(join(dir, 'cgroup.procs'))}` }
  }

  started(_launcher: number, main: number): void {
    this.#main = main
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

  signalGroup(signal: number): boolean {
    return sendSignal(-this.#main, signal)
  }

  hold(): void {}

  async kill(): Promise<void> {
    while (this.populated()) {
      writeControl(join(this.#dir, 'cgroup.kill'), '1')
      await until(() => !this.populated(), FREEZE_LIMIT_MS)
    }
  }

  oomKilled(): OomVerdict {
    const events = join(this.#dir, 'memory.events')
    return existsSync(events) ? readCounter(events, 'oom_kill') > 0 : 'unknown'
  }

  waitStatus(): undefined {
    return undefined
  }

  release(): void {
    if (!this.remove()) this.#onRelease(this)
  }

  /** Removes the group; false while something lives in it. */
  remove(): boolean {
    return removeGroup(this.#dir)
  }
}
