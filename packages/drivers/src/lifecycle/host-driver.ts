import { mkdirSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { CoppiceError, type Limits, type Progress, type ResourceUse } from '@coppice/protocol/wire'
import type {
  Driver,
  DriverCapabilities,
  DriverProbe,
  DriverSandbox,
  ExitListener,
  InterceptPlan,
  SandboxSpec,
  SavedFiles,
} from '../driver.ts'
import { isAlive } from '../host/process.ts'
import { Census } from './census.ts'
import { endInOrder, killInit } from './disposal.ts'
import { Endings } from './endings.ts'
import type { Engine } from './engine.ts'
import { isSandboxId, SandboxFolder } from './folder.ts'
import { Launches } from './launches.ts'
import { readLogs } from './logs.ts'
import { readRecord, type SandboxEnd, writeRecord } from './record.ts'
import { DEFAULT_POLL_MS, Watcher } from './watcher.ts'

export interface HostDriverOptions {
  name: string
  capabilities: DriverCapabilities
  uidBase: number
  /** Folder of this driver: one sub-folder for each sandbox. Made when it is not there. */
  root: string
  engine: Engine
  probe: (progress: Progress) => Promise<DriverProbe>
  pollMs?: number
}

/**
 * The `Driver` life cycle for engines whose init is a process of this host. All truth is in the folders: any number of objects
 * may look at one root, and one that comes after a crash finds and finishes what the one before had begun.
 */
export class HostDriver implements Driver {
  readonly name: string
  readonly capabilities: DriverCapabilities
  readonly uidBase: number
  readonly resize?: NonNullable<Driver['resize']>
  readonly saveFiles?: NonNullable<Driver['saveFiles']>
  readonly #root: string
  readonly #engine: Engine
  readonly #probe: (progress: Progress) => Promise<DriverProbe>
  readonly #watcher: Watcher
  readonly #endings: Endings
  readonly #launches: Launches
  readonly #census: Census
  #unlisten: (() => void) | undefined

  constructor(options: HostDriverOptions) {
    this.name = options.name
    this.capabilities = options.capabilities
    this.uidBase = options.uidBase
    this.#root = options.root
    this.#engine = options.engine
    this.#probe = options.probe
    const onGone = async (id: string): Promise<void> => {
      await this.#endings.settle(this.#folder(id))
      this.#endings.releaseSoon(this.#folder(id))
    }
    this.#watcher = new Watcher(options.root, options.pollMs ?? DEFAULT_POLL_MS, onGone, (id, init) =>
      this.#engine.sample?.(this.#folder(id), init),
    )
    this.#endings = new Endings(options.engine, this.#watcher)
    this.#launches = new Launches(options.engine, this.#watcher)
    this.#census = new Census(options.root, options.engine, this.#watcher, this.#endings)
    const resize = options.engine.resize?.bind(options.engine)
    if (resize) this.resize = (id, limits, progress) => this.#resize(resize, id, limits, progress)
    const saveFiles = options.engine.saveFiles?.bind(options.engine)
    if (saveFiles) this.saveFiles = (id, progress) => this.#saveFiles(saveFiles, id, progress)
    mkdirSync(options.root, { recursive: true, mode: 0o711 })
  }

  probe(progress: Progress): Promise<DriverProbe> {
    return this.#probe(progress)
  }

  async create(spec: SandboxSpec, progress: Progress): Promise<DriverSandbox> {
    progress.throwIfEnded()
    const folder = this.#folder(spec.id)
    try {
      await mkdir(folder.path, { mode: 0o700 })
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
      throw new CoppiceError('already_exists', 'sandbox_exists', `There is a sandbox ${spec.id} already.`, { cause })
    }
    try {
      return await this.#launches.launch(folder, spec, undefined, progress)
    } catch (cause) {
      await this.#discard(folder)
      throw cause
    }
  }

  async start(spec: SandboxSpec, progress: Progress): Promise<DriverSandbox> {
    progress.throwIfEnded()
    const folder = this.#folder(spec.id)
    const found = await this.inspect(spec.id)
    const record = await readRecord(folder.record)
    if (!found) throw notFound(spec.id)
    if (found.state === 'running') {
      throw new CoppiceError('failed_precondition', 'sandbox_running', `Sandbox ${spec.id} is running already.`)
    }
    if (!record?.complete) throw incomplete(spec.id)
    await this.#endings.release(folder)
    try {
      return await this.#launches.launch(folder, spec, record, progress)
    } catch (cause) {
      await this.#engine.release(folder, { ...record, init: null })
      const message = `It could not be started: ${CoppiceError.from(cause).message}`
      const end = { reason: 'start_failed', message, exitCode: null, at: Date.now() } as const
      await writeRecord(folder.record, { ...record, phase: 'stopped', end })
      throw cause
    }
  }

  async stop(id: string, graceMs: number, progress: Progress): Promise<void> {
    const folder = this.#folder(id)
    if (!(await this.inspect(id))) throw notFound(id)
    const record = await this.#endings.ask(folder, 'stop')
    if (!record?.init) return this.#endings.release(folder)
    this.#engine.sample?.(folder, record.init)
    // An ended progress cuts the grace short. It does not leave a sandbox behind that was told to stop.
    if (!(await endInOrder(record.init, graceMs, progress.signal))) await killInit(this.#engine, folder, record)
    await this.#endings.settle(folder)
    await this.#endings.release(folder)
  }

  async remove(id: string, _progress: Progress): Promise<void> {
    const folder = this.#folder(id)
    const found = await this.inspect(id)
    const record = found?.state === 'running' ? await this.#endings.ask(folder, 'remove') : undefined
    if (record) {
      if (record.init) this.#engine.sample?.(folder, record.init)
      await killInit(this.#engine, folder, record)
      await this.#endings.settle(folder)
    }
    await this.#discard(folder)
  }

  list(_progress: Progress): Promise<DriverSandbox[]> {
    return this.#census.list()
  }

  async inspect(id: string): Promise<DriverSandbox | undefined> {
    return this.#census.inspect(this.#folder(id))
  }

  async stats(id: string): Promise<ResourceUse> {
    const folder = this.#folder(id)
    const record = await readRecord(folder.record)
    if (!record) throw notFound(id)
    return record.phase !== 'running' && record.use ? record.use : this.#engine.use(folder, record)
  }

  async intercept(id: string, plan: InterceptPlan, progress: Progress): Promise<{ ok: boolean; detail: string }> {
    progress.throwIfEnded()
    const record = await readRecord(this.#folder(id).record)
    if (record?.phase !== 'running' || !record.init) return { ok: false, detail: `Sandbox ${id} does not run.` }
    return this.#engine.intercept(record.init, plan, progress)
  }

  async #resize(resize: NonNullable<Engine['resize']>, id: string, limits: Limits, progress: Progress): Promise<void> {
    progress.throwIfEnded()
    const folder = this.#folder(id)
    if (!(await this.inspect(id))) throw notFound(id)
    const record = await readRecord(folder.record)
    if (record?.phase !== 'running' || !record.init) return
    try {
      await resize(folder, record.init, limits, progress)
    } catch (cause) {
      // It has ended meanwhile, and its next start brings limits of its own.
      if (isAlive(record.init)) throw cause
    }
  }

  async #saveFiles(saveFiles: NonNullable<Engine['saveFiles']>, id: string, progress: Progress): Promise<SavedFiles> {
    progress.throwIfEnded()
    const folder = this.#folder(id)
    if (!(await this.inspect(id))) throw notFound(id)
    if (!(await readRecord(folder.record))?.complete) throw incomplete(id)
    return saveFiles(folder, progress)
  }

  logs(id: string, maxBytes: number): Promise<Buffer> {
    const folder = this.#folder(id)
    const output = this.#engine.output?.bind(this.#engine, folder)
    return readLogs(folder, maxBytes, output)
  }

  watch(listener: ExitListener): () => void {
    const unlisten = this.#endings.listen(listener)
    this.#watcher.run()
    this.#unlisten ??= this.#engine.listen?.((id, what) => void this.#hear(id, what).catch(() => {}))
    return () => {
      if (unlisten() === 0) this.#pause()
    }
  }

  async close(): Promise<void> {
    this.#pause()
    await this.#endings.close()
  }

  /** What fails here is found by the next look, or by whoever asks for this sandbox. */
  async #hear(id: string, what: 'ended' | 'gone'): Promise<void> {
    if (!isSandboxId(id)) return
    await this.inspect(id)
    if (what === 'gone') await this.#endings.lost(this.#folder(id), vanished())
  }

  #pause(): void {
    this.#watcher.pause()
    this.#unlisten?.()
    this.#unlisten = undefined
  }

  async #discard(folder: SandboxFolder): Promise<void> {
    await this.#endings.discard(folder)
    this.#watcher.delete(folder.id)
    if (this.#launches.active === 0) this.#engine.idle()
  }

  #folder(id: string): SandboxFolder {
    return new SandboxFolder(this.#root, id)
  }
}

function vanished(): SandboxEnd {
  const message = 'What held its files was removed by somebody else, and the files with it.'
  return { reason: 'vanished', message, exitCode: null, at: Date.now() }
}

function incomplete(id: string): CoppiceError {
  return new CoppiceError('failed_precondition', 'sandbox_incomplete', `The creation of ${id} was cut off.`, {
    hint: `coppice rm ${id}`,
  })
}

function notFound(id: string): CoppiceError {
  return new CoppiceError('not_found', 'sandbox_not_found', `There is no sandbox ${id}.`, { hint: 'coppice ls' })
}
