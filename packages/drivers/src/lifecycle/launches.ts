import { rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import type { Progress } from '@coppice/protocol/wire'
import type { DriverSandbox, SandboxSpec } from '../driver.ts'
import { bootId } from '../host/boot.ts'
import { ownIdentity } from '../host/process.ts'
import type { Engine } from './engine.ts'
import type { SandboxFolder } from './folder.ts'
import { type SandboxRecord, writeRecord } from './record.ts'
import { Slots } from './slots.ts'
import type { Watcher } from './watcher.ts'

/** Launches at once for each core. More only makes every one of a burst slower: most of a launch is work of the kernel. */
const LAUNCHES_PER_CORE = 4

/** Starts runs, writing down before each step what the next one has to know if this one is cut off. */
export class Launches {
  readonly #engine: Engine
  readonly #watcher: Watcher
  readonly #slots = new Slots(LAUNCHES_PER_CORE * availableParallelism())
  #active = 0

  constructor(engine: Engine, watcher: Watcher) {
    this.#engine = engine
    this.#watcher = watcher
  }

  /** Launches under way in this object, waiting ones too. */
  get active(): number {
    return this.#active
  }

  /** `before`: the record of a sandbox that has run already; its files are used again. What fails leaves things half-made. */
  async launch(
    folder: SandboxFolder,
    spec: SandboxSpec,
    before: SandboxRecord | undefined,
    progress: Progress,
  ): Promise<DriverSandbox> {
    const record = launching(spec, before)
    this.#active++
    try {
      await writeRecord(folder.record, record)
      await rm(`${folder.state}/exit`, { recursive: true, force: true })
      const fresh = before === undefined
      const init = await this.#slots.run(progress, () => this.#engine.launch(folder, spec, fresh, progress))
      await writeRecord(folder.record, { ...record, phase: 'running', complete: true, init, end: null, use: null })
      progress.throwIfEnded()
      this.#watcher.add(spec.id, init)
      return { id: spec.id, state: 'running', pid: init.pid, end: null }
    } finally {
      this.#active--
    }
  }
}

function launching(spec: SandboxSpec, before: SandboxRecord | undefined): SandboxRecord {
  return {
    schema: 1,
    id: spec.id,
    phase: 'launching',
    complete: before !== undefined,
    bootId: bootId(),
    launcher: ownIdentity(),
    init: null,
    asked: null,
    end: before?.end ?? null,
    use: before?.use ?? null,
    limits: spec.limits,
    runtimeDir: spec.runtimeDir,
    runDir: spec.runDir,
    labels: spec.labels,
  }
}
