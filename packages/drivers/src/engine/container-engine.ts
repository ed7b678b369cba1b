import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError, type Limits, Progress, type ResourceUse } from '@coppice/protocol/wire'
import type { InterceptPlan, SandboxSpec, SavedFiles } from '../driver.ts'
import { isAlive, type ProcessIdentity, signalProcess, waitGone } from '../host/process.ts'
import type { EngineNews, Engine as LifeEngine } from '../lifecycle/engine.ts'
import type { SandboxFolder } from '../lifecycle/folder.ts'
import type { SandboxEnd, SandboxRecord } from '../lifecycle/record.ts'
import { detectCgroups } from '../oci/cgroups/detect.ts'
import { squeezed } from '../oci/cgroups/squeeze.ts'
import { intercept } from '../oci/intercept/intercept.ts'
import { evidence, NOTHING, refineEnd } from './end.ts'
import { thawContainer } from './freezer.ts'
import type { ContainerLaunch } from './launch.ts'
import type { EngineLink } from './link.ts'
import { type Names, SANDBOX_LABEL } from './names.ts'
import type { News } from './news.ts'
import { outputTail } from './output.ts'
import { ownContainer } from './own.ts'
import { sandboxPaths } from './paths.ts'
import { settled } from './run-state.ts'
import type { Saves } from './saves.ts'
import { cgroupOf, UNKNOWN_USE, useOf } from './use.ts'

/** Milliseconds after which a killed init must be held up by something: its container is paused. It takes a few else. */
const PAUSED_AFTER_MS = 200

/** Milliseconds for giving something back at an engine. */
const CLEAN_UP_MS = 30_000

const LOGS_TIMEOUT_MS = 5000

/** Failed creations that are remembered until they are taken back for the second time, at once as a rule. */
const MAX_NEVER_ASKED = 1000

export interface ContainerEngineParts {
  link: EngineLink
  names: Names
  launch: ContainerLaunch
  saves: Saves
  news: News
}

/**
 * Sandboxes as containers of a Docker or Podman of this host. Their inits are processes here and are watched and ended as such:
 * what runs needs no engine, and what is stopped is stopped when the engine is away too.
 */
export class ContainerEngine implements LifeEngine {
  readonly #parts: ContainerEngineParts
  readonly #uses = new Map<string, ResourceUse>()
  /** Ids of creations that were taken back before the engine was asked for anything. */
  readonly #neverAsked = new Set<string>()

  constructor(parts: ContainerEngineParts) {
    this.#parts = parts
  }

  async launch(folder: SandboxFolder, spec: SandboxSpec, fresh: boolean, progress: Progress): Promise<ProcessIdentity> {
    this.#parts.news.wake()
    this.#neverAsked.delete(folder.id)
    const init = await this.#parts.launch.run(folder, spec, fresh, progress)
    this.sample(folder, init)
    return init
  }

  async release(folder: SandboxFolder, record: SandboxRecord | undefined): Promise<void> {
    const init = record?.init
    if (!init && this.#wasNeverAsked(folder)) return
    if (init && isAlive(init)) await this.kill(folder, init)
    const progress = new Progress({ timeoutMs: CLEAN_UP_MS })
    try {
      const engine = await this.#parts.link.reach(progress)
      // A start that was cut off: whatever it has started by now.
      const container = await ownContainer(engine, this.#parts.names, folder, progress)
      if (!container) return
      if (!init && container.State.Running) await engine.containers.kill(container.Id, progress)
      await settled(engine, container.Id, progress)
    } catch (error) {
      // With the init gone nothing is held but the engine's knowledge of it, and it learns that by itself when it is back.
      if (!init || isAlive(init) || CoppiceError.from(error).code !== 'unavailable') throw error
    }
  }

  async discard(folder: SandboxFolder): Promise<void> {
    this.#uses.delete(folder.id)
    if (this.#wasNeverAsked(folder)) return
    const progress = new Progress({ timeoutMs: CLEAN_UP_MS })
    const engine = await this.#parts.link.reach(progress)
    await this.#parts.saves.tidy(folder, engine)
    const container = await ownContainer(engine, this.#parts.names, folder, progress)
    if (!container) return
    await engine.containers.remove(container.Id, progress)
    // An answer of "is being removed already" comes before the end of that.
    for (
      let pauseMs = 5;
      await engine.containers.inspect(container.Id, progress);
      pauseMs = Math.min(pauseMs * 2, 500)
    ) {
      await sleep(pauseMs)
      progress.throwIfEnded()
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
    const container = await ownContainer(engine, this.#parts.names, folder, progress)
    if (container) await engine.containers.unpause(container.Id, progress)
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
    const resize = () => this.#parts.launch.resize(folder, limits, progress)
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

  /**
   * A creation that failed before the engine was asked for a container: there is nothing to ask it about, also when its folder is
   * gone and it is taken back once more.
   */
  #wasNeverAsked(folder: SandboxFolder): boolean {
    if (!existsSync(folder.path)) return this.#neverAsked.has(folder.id)
    if (existsSync(sandboxPaths(folder).asked)) return false
    this.#neverAsked.add(folder.id)
    const oldest = this.#neverAsked.size > MAX_NEVER_ASKED ? this.#neverAsked.values().next().value : undefined
    if (oldest !== undefined) this.#neverAsked.delete(oldest)
    return true
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
      const container = await ownContainer(engine, names, folder, new Progress({ timeoutMs: LOGS_TIMEOUT_MS }))
      if (container) await settled(engine, container.Id, new Progress({ timeoutMs: LOGS_TIMEOUT_MS }))
      const found = container ? await evidence(engine, container.Id, record.init?.pid) : NOTHING
      return refineEnd(end, found, news.outage, engine.dialect.title)
    } catch {
      return { ...end, message: `${end.message} ${link.title} could not be asked for more.` }
    }
  }

  /** Empty when the engine cannot be asked: the supervisor's own log is not the engine's. */
  async output(folder: SandboxFolder, maxBytes: number): Promise<Buffer> {
    const progress = new Progress({ timeoutMs: LOGS_TIMEOUT_MS })
    try {
      const engine = await this.#parts.link.reach(progress)
      const container = await ownContainer(engine, this.#parts.names, folder, progress)
      return container ? await outputTail(engine, container.Id, maxBytes, progress) : Buffer.alloc(0)
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
}
