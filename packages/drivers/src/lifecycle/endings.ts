import type { ResourceUse } from '@coppice/protocol/wire'
import type { DriverSandbox, ExitListener } from '../driver.ts'
import { bootId } from '../host/boot.ts'
import { discard } from './disposal.ts'
import { explainEnd } from './end.ts'
import type { Engine } from './engine.ts'
import type { SandboxFolder } from './folder.ts'
import { readRecord, type SandboxEnd, type SandboxRecord, writeRecord } from './record.ts'
import { Turns } from './turns.ts'
import type { Watcher } from './watcher.ts'

/** The end of a launch whose launcher was killed. */
export function cutOff(): SandboxEnd {
  return { reason: 'gateway_interrupted', message: 'Its start was cut off.', exitCode: null, at: Date.now() }
}

/** Writes ends down, gives back what ended runs held, and tells the listeners: once for each end, whoever noticed it. */
export class Endings {
  readonly #engine: Engine
  readonly #watcher: Watcher
  readonly #listeners = new Set<ExitListener>()
  readonly #turns = new Turns()
  readonly #releasing = new Set<string>()

  constructor(engine: Engine, watcher: Watcher) {
    this.#engine = engine
    this.#watcher = watcher
  }

  /** Returns how many listeners are left after the returned function is called: none means nobody needs to look. */
  listen(listener: ExitListener): () => number {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
      return this.#listeners.size
    }
  }

  async close(): Promise<void> {
    this.#listeners.clear()
    await this.#turns.idle()
  }

  /** Notes who is about to end a running sandbox. Undefined when it has ended already. */
  ask(folder: SandboxFolder, asked: 'stop' | 'remove'): Promise<SandboxRecord | undefined> {
    return this.#turns.take(folder.id, async () => {
      const record = await readRecord(folder.record)
      if (record?.phase !== 'running') return undefined
      const noted = { ...record, asked }
      await writeRecord(folder.record, noted)
      return noted
    })
  }

  /** Writes down and tells how a run whose init is gone has ended. What it held is given back by `release`. */
  settle(folder: SandboxFolder): Promise<DriverSandbox | undefined> {
    return this.#turns.take(folder.id, async () => {
      let record = await readRecord(folder.record)
      if (!record) return this.#vanished(folder.id)
      if (record.phase === 'running') {
        const use = record.bootId === bootId() ? this.#engine.use(folder, record) : null
        if (record.init) this.#watcher.add(folder.id, record.init)
        const end = await explainEnd(this.#engine, folder, record)
        record = { ...record, phase: 'ending', end: (await this.#engine.refineEnd?.(folder, record, end)) ?? end, use }
        await writeRecord(folder.record, record)
      }
      if (record.phase === 'launching') {
        record = { ...record, phase: 'ending', end: cutOff() }
        await writeRecord(folder.record, record)
      }
      const sandbox: DriverSandbox = { id: folder.id, state: 'stopped', pid: null, end: record.end }
      this.#tell(sandbox, record.use)
      return sandbox
    })
  }

  /** Writes down that the files of a stopped sandbox are gone. Nothing when it runs, is being made or is being removed. */
  lost(folder: SandboxFolder, end: SandboxEnd): Promise<void> {
    return this.#turns.take(folder.id, async () => {
      const record = await readRecord(folder.record)
      const stopped = record?.phase === 'ending' || record?.phase === 'stopped'
      if (record && stopped && record.end?.reason !== 'vanished') await writeRecord(folder.record, { ...record, end })
    })
  }

  /** Gives back what an ended run held, its files excepted. */
  release(folder: SandboxFolder): Promise<void> {
    return this.#turns.take(folder.id, async () => {
      const record = await readRecord(folder.record)
      if (record?.phase !== 'ending') return
      await this.#engine.release(folder, record)
      await writeRecord(folder.record, { ...record, phase: 'stopped', init: null })
    })
  }

  /** The same, without waiting for it. What fails is tried again at the next look, and stop, start and remove say why. */
  releaseSoon(folder: SandboxFolder): void {
    if (this.#releasing.has(folder.id)) return
    this.#releasing.add(folder.id)
    const done = (): void => void this.#releasing.delete(folder.id)
    this.release(folder).then(done, done)
  }

  /** Removes everything of a sandbox. */
  discard(folder: SandboxFolder): Promise<void> {
    return this.#turns.take(folder.id, () => discard(this.#engine, folder))
  }

  /** Its folder went while it was watched: another object over the same root removed it, or a person did. */
  #vanished(id: string): undefined {
    const end = {
      reason: 'vanished',
      message: 'The files of the sandbox are gone.',
      exitCode: null,
      at: Date.now(),
    } as const
    this.#tell({ id, state: 'stopped', pid: null, end }, null)
    return undefined
  }

  #tell(sandbox: DriverSandbox, use: ResourceUse | null): void {
    // Known as running until now: whoever comes second finds it gone from the watched ones.
    if (!this.#watcher.delete(sandbox.id)) return
    for (const listener of this.#listeners) listener({ ...sandbox, use })
  }
}
