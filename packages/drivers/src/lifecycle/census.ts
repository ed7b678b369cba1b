import { readdir } from 'node:fs/promises'
import type { DriverSandbox } from '../driver.ts'
import { bootId } from '../host/boot.ts'
import { isAlive } from '../host/process.ts'
import { cutOff, type Endings } from './endings.ts'
import type { Engine } from './engine.ts'
import { isSandboxId, SandboxFolder } from './folder.ts'
import { readRecord } from './record.ts'
import type { Watcher } from './watcher.ts'

/** Finds what there is: by folders, and by what engines hold outside of them. Looking also finishes what was cut off. */
export class Census {
  readonly #root: string
  readonly #engine: Engine
  readonly #watcher: Watcher
  readonly #endings: Endings

  constructor(root: string, engine: Engine, watcher: Watcher, endings: Endings) {
    this.#root = root
    this.#engine = engine
    this.#watcher = watcher
    this.#endings = endings
  }

  async list(): Promise<DriverSandbox[]> {
    const names = (await readdir(this.#root)).filter(isSandboxId)
    const ids = new Set([...names, ...(await this.#engine.leftovers())])
    const found = await Promise.all([...ids].sort().map((id) => this.inspect(new SandboxFolder(this.#root, id))))
    return found.filter((sandbox) => sandbox !== undefined)
  }

  async inspect(folder: SandboxFolder): Promise<DriverSandbox | undefined> {
    const { id } = folder
    const record = await readRecord(folder.record)
    if (!record) return this.#withoutRecord(folder)
    const sameBoot = record.bootId === bootId()
    if (record.phase === 'running' && record.init && sameBoot && isAlive(record.init)) {
      this.#watcher.add(id, record.init)
      return { id, state: 'running', pid: record.init.pid, end: null }
    }
    const launching = record.phase === 'launching' && sameBoot && isAlive(record.launcher)
    if (launching) return { id, state: 'stopped', pid: null, end: null }
    const ended = { id, state: 'stopped', pid: null, end: record.end } as const
    if (record.phase === 'stopped' || record.phase === 'ending') {
      // Still watched although its end is written down: another object over the same folder noticed first.
      if (this.#watcher.has(id)) await this.#endings.settle(folder)
      if (record.phase === 'ending') this.#endings.releaseSoon(folder)
      return ended
    }
    const settled = await this.#endings.settle(folder)
    this.#endings.releaseSoon(folder)
    return settled
  }

  /** A creation or removal that was cut off within microseconds of its begin or end, or nothing. */
  async #withoutRecord(folder: SandboxFolder): Promise<DriverSandbox | undefined> {
    const { id } = folder
    const known = (await readdir(this.#root)).includes(id) || (await this.#engine.leftovers()).includes(id)
    if (known) return { id, state: 'stopped', pid: null, end: cutOff() }
    if (this.#watcher.has(id)) await this.#endings.settle(folder)
    return undefined
  }
}
