import { existsSync } from 'node:fs'
import type { ContainerInspection, Engine } from '@coppice/engines'
import { CoppiceError, type Limits, Progress, type ResourceUse } from '@coppice/protocol/wire'
import type { InterceptPlan, SandboxSpec, SavedFiles } from '../driver.ts'
import { isAlive, type ProcessIdentity, signalProcess, waitGone } from '../host/process.ts'
import type { EngineNews, Engine as LifeEngine } from '../lifecycle/engine.ts'
import type { SandboxFolder } from '../lifecycle/folder.ts'
import type { SandboxEnd, SandboxRecord } from '../lifecycle/record.ts'
import { detectCgroups } from '../oci/cgroups/detect.ts'
import { squeezed } from '../oci/cgroups/squeeze.ts'
import { intercept } from '../oci/intercept/intercept.ts'
import { evidence, refineEnd } from './end.ts'
import { thawContainer } from './freezer.ts'
import type { ContainerLaunch } from './launch.ts'
import type { EngineLink } from './link.ts'
import { type Names, SANDBOX_LABEL } from './names.ts'
import type { News } from './news.ts'
import { outputTail } from './output.ts'
import { sandboxPaths } from './paths.ts'
import { settled } from './run-state.ts'
import type { Saves } from './saves.ts'
import { cgroupOf, UNKNOWN_USE, useOf } from './use.ts'

/** Milliseconds after which a killed init must be held up by something: its container is paused. It takes a few else. */
const PAUSED_AFTER_MS = 200

/** Milliseconds for giving something back at an engine. */
const CLEAN_UP_MS = 30_000

const LOGS_TIMEOUT_MS = 5000

export interface ContainerEngineParts {
  link: EngineLink
  names: Names
  launch: ContainerLaunch
  saves: Saves
  news: News
}

/** A creation that failed before the engine was asked for a container: there is nothing to ask it about. */
function neverAsked(folder: SandboxFolder): boolean {
  return existsSync(folder.path) && !existsSync(sandboxPaths(folder).asked)
}

/**
 * Sandboxes as containers of a Docker or Podman of this host. Their inits are processes here and are watched and ended as such:
 * what runs needs no engine, and what is stopped is stopped when the engine is away too.
 */
export class ContainerEngine implements LifeEngine {
  readonly #parts: ContainerEngineParts
  readonly #uses = new Map<string, ResourceUse>()

  constructor(parts: ContainerEngineParts) {
    this.#parts = parts
  }

  async launch(folder: SandboxFolder, spec: SandboxSpec, fresh: boolean, progress: Progress): Promise<ProcessIdentity> {
    this.#parts.news.wake()
    const init = await this.#parts.launch.run(folder, spec, fresh, progress)
    this.sample(folder, init)
    return init
  }

  async release(folder: SandboxFolder, record: SandboxRecord | undefined): Promise<void> {
    const init = record?.init
    if (!init && neverAsked(folder)) return
    if (init && isAlive(init)) await this.kill(folder, init)
    const progress = new Progress({ timeoutMs: CLEAN_UP_MS })
    try {
      const engine = await this.#parts.link.reach(progress)
      // A start that was cut off: whatever it has started by now.
      if (!init && (await this.#own(engine, folder.id, progress))?.State.Running) {
        await engine.containers.kill(this.#parts.names.container(folder.id), progress)
      }
      await settled(engine, this.#parts.names.container(folder.id), progress)
    } catch (error) {
      // With the init gone nothing is held but the engine's knowledge of it, and it learns that by itself when it is back.
      if (!init || isAlive(init) || CoppiceError.from(error).code !== 'unavailable') throw error
    }
  }

  async discard(folder: SandboxFolder): Promise<void> {
    this.#uses.delete(folder.id)
    if (neverAsked(folder)) return
    const progress = new Progress({ timeoutMs: CLEAN_UP_MS })
    const engine = await this.#parts.link.reach(progress)
    await this.#parts.saves.tidy(folder, engine)
    const container = await this.#own(engine, folder.id, progress)
    if (!container) return
    await engine.containers.remove(container.Id, progress)
    // An answer of "is being removed already" comes before the end of that.
    for (; await engine.containers.inspect(container.Id, progress); progress.throwIfEnded()) {
      await engine.containers.remove(container.Id, progress)
    }
  }

  async kill(folder: SandboxFolder, init: ProcessIdentity): Promise<void> {
    signalProcess(init, 'SIGKILL')
    if (await waitGone(init, PAUSED_AFTER_MS)) return
    thawContainer(init)
    if (await waitGone(init, PAUSED_AFTER_MS)) return
    const progress = new Progress({ timeoutMs: CLEAN_UP_MS })
    const engine = await this.#parts.link.reach(progress)
    if (await this.#own(engine, folder.id, progress)) {
      await engine.containers.unpause(this.#parts.names.container(folder.id), progress)
    }
  }

  /** Ids of containers without which nothing can be said here. Empty when the engine is away: what has a folder is known. */
  async leftovers(): Promise<string[]> {
    const progress = new Progress({ timeoutMs: CLEAN_UP_MS })
    try {
      const engine = await this.#parts.link.reach(progress)
      const containers = await engine.containers.list([SANDBOX_LABEL], progress)
      return containers.flatMap((container) => this.#parts.names.owner(container) ?? [])
    } catch (error) {
      if (CoppiceError.from(error).code === 'internal') throw error
      return []
    }
  }

  use(folder: SandboxFolder, record: SandboxRecord): ResourceUse {
    if (record.init) this.sample(folder, record.init)
    return this.#uses.get(folder.id) ?? { ...UNKNOWN_USE, at: Date.now() }
  }

  /** A container's cgroups go with its init: the last look is kept. */
  sample(folder: SandboxFolder, init: ProcessIdentity): void {
    const use = isAlive(init) ? useOf(init) : undefined
    if (use) this.#uses.set(folder.id, use)
  }

  async resize(folder: SandboxFolder, init: ProcessIdentity, limits: Limits, progress: Progress): Promise<void> {
    const resize = () => this.#parts.launch.resize(folder.id, limits, progress)
    const layout = detectCgroups()
    const path = layout.version === 2 ? cgroupOf(init.pid, '') : undefined
    // Version 1 refuses by itself what is in use. A path that was read while the init lives is its own.
    if (layout.version === 1 || path === undefined || !isAlive(init)) await resize()
    else await squeezed(`${layout.mount}${path}`, folder.id, limits.memoryMB * 1024 * 1024, progress, resize)
    this.sample(folder, init)
  }

  saveFiles(folder: SandboxFolder, progress: Progress): Promise<SavedFiles> {
    return this.#parts.saves.save(folder, progress)
  }

  /** Told by `refineEnd`, from what the engine has seen. */
  initOomKilled(): boolean {
    return false
  }

  async refineEnd(folder: SandboxFolder, record: SandboxRecord, end: SandboxEnd): Promise<SandboxEnd> {
    if (end.reason !== 'exited' && end.reason !== 'killed') return end
    const { link, names, news } = this.#parts
    try {
      const engine = await link.reach(new Progress({ timeoutMs: LOGS_TIMEOUT_MS }))
      await settled(engine, names.container(folder.id), new Progress({ timeoutMs: LOGS_TIMEOUT_MS }))
      return refineEnd(
        end,
        await evidence(engine, names.container(folder.id), record.init?.pid),
        news.outage,
        engine.dialect.title,
      )
    } catch {
      return { ...end, message: `${end.message} ${link.title} could not be asked for more.` }
    }
  }

  /** Empty when the engine cannot be asked: the supervisor's own log is not the engine's. */
  async output(folder: SandboxFolder, maxBytes: number): Promise<Buffer> {
    const progress = new Progress({ timeoutMs: LOGS_TIMEOUT_MS })
    try {
      const engine = await this.#parts.link.reach(progress)
      return await outputTail(engine, this.#parts.names.container(folder.id), maxBytes, progress)
    } catch {
      return Buffer.alloc(0)
    }
  }

  intercept(init: ProcessIdentity, plan: InterceptPlan, progress: Progress): Promise<{ ok: boolean; detail: string }> {
    return intercept(init, plan, progress)
  }

  listen(news: EngineNews): () => void {
    return this.#parts.news.listen(news)
  }

  idle(): void {}

  /** The container of a sandbox, when there is one and it is ours. */
  async #own(engine: Engine, id: string, progress: Progress): Promise<ContainerInspection | undefined> {
    const found = await engine.containers.inspect(this.#parts.names.container(id), progress)
    return found && this.#parts.names.owner(found) === id ? found : undefined
  }
}
