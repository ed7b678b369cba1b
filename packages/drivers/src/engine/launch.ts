import { writeFileSync } from 'node:fs'
import type { ContainerInspection, ContainerUpdate, Engine } from '@coppice/engines'
import { CoppiceError, type Limits, type Progress } from '@coppice/protocol/wire'
import type { SandboxSpec } from '../driver.ts'
import { maxOpenFiles } from '../host/limits.ts'
import { identify, type ProcessIdentity } from '../host/process.ts'
import type { SandboxFolder } from '../lifecycle/folder.ts'
import { limitsRefused } from '../lifecycle/refusal.ts'
import { writeSupervisorConfig } from '../lifecycle/supervisor-config.ts'
import { containerLimits, sandboxContainer } from './container.ts'
import type { EngineImages } from './images.ts'
import { type EngineLink, uncut } from './link.ts'
import type { Names } from './names.ts'
import { outputTail } from './output.ts'
import { containerRoot } from './owner.ts'
import { preparePaths } from './paths.ts'
import { filesGone, isContainerInit, settled } from './run-state.ts'

/** Makes and starts the containers of sandboxes. */
export class ContainerLaunch {
  readonly #link: EngineLink
  readonly #names: Names
  readonly #images: EngineImages
  readonly #maxOpenFiles = maxOpenFiles()

  constructor(link: EngineLink, names: Names, images: EngineImages) {
    this.#link = link
    this.#names = names
    this.#images = images
  }

  /** `fresh`: the container is made too. What fails leaves anything half-made. */
  async run(folder: SandboxFolder, spec: SandboxSpec, fresh: boolean, progress: Progress): Promise<ProcessIdentity> {
    const engine = await this.#link.reach(progress)
    const root = await containerRoot(engine, progress)
    const paths = preparePaths(folder, spec, root, fresh)
    writeSupervisorConfig(spec.runDir, spec.supervisor, root.uid)
    const name = this.#names.container(folder.id)
    let limits: ContainerUpdate | undefined
    if (fresh) {
      const input = { spec, paths, dialect: engine.dialect, shifted: root.shifted, maxOpenFiles: this.#maxOpenFiles }
      await this.#create(engine, name, input, progress)
    } else {
      limits = changedLimits(await this.#stopped(engine, name, folder, progress), spec)
    }
    const early = engine.dialect.limitUpdates === 'docker'
    if (limits && early) await uncut(progress, (own) => engine.containers.update(name, limits, own))
    await uncut(progress, (own) => engine.containers.start(name, own))
    // The supervisor has not dialled in yet: nothing of the sandbox's user runs.
    if (limits && !early) await uncut(progress, (own) => engine.containers.update(name, limits, own))
    return this.#init(engine, name, folder.id, progress)
  }

  /** Gives a running container other limits. Throws `failed_precondition/limits_refused` with the engine's words. */
  async resize(id: string, limits: Limits, progress: Progress): Promise<void> {
    const engine = await this.#link.reach(progress)
    try {
      await uncut(progress, (own) => engine.containers.update(this.#names.container(id), containerLimits(limits), own))
    } catch (cause) {
      const error = CoppiceError.from(cause)
      if (error.reason !== 'engine_refused') throw cause
      throw limitsRefused(id, error.message, { facts: error.facts, cause })
    }
  }

  async #create(
    engine: Engine,
    name: string,
    input: Omit<Parameters<typeof sandboxContainer>[0], 'image'>,
    progress: Progress,
  ): Promise<void> {
    const { spec } = input
    const make = async (): Promise<void> => {
      const image = await this.#images.ensure(engine, spec.image, progress)
      writeFileSync(input.paths.asked, '')
      await uncut(progress, (own) => engine.containers.create(name, sandboxContainer({ ...input, image }), own))
    }
    try {
      await make()
    } catch (cause) {
      // Somebody removed the image in between.
      if (CoppiceError.from(cause).code !== 'not_found') throw cause
      await make()
    }
  }

  /** The container of a stopped sandbox, once the engine knows that it is stopped. */
  async #stopped(
    engine: Engine,
    name: string,
    folder: SandboxFolder,
    progress: Progress,
  ): Promise<ContainerInspection> {
    const found = await settled(engine, name, progress)
    if (!found || this.#names.owner(found) !== folder.id) throw filesGone(engine, folder.id, name)
    return found
  }

  /** The init of a container that was started. Throws `unavailable/init_died`, `unsupported/engine_elsewhere`. */
  async #init(engine: Engine, name: string, id: string, progress: Progress): Promise<ProcessIdentity> {
    const found = (await engine.containers.inspect(name, progress)) as ContainerInspection
    const init = found?.State.Pid > 0 ? identify(found.State.Pid) : undefined
    if (init && isContainerInit(init.pid, found.Id)) return init
    if (found?.State.Running) {
      throw new CoppiceError(
        'unsupported',
        'engine_elsewhere',
        `${engine.dialect.title} at ${engine.socket} runs its containers on another machine, maybe a virtual one.`,
        { facts: { pid: found.State.Pid }, hint: 'run the gateway where the engine runs' },
      )
    }
    const log = await outputTail(engine, name, 4096, progress).catch(() => Buffer.alloc(0))
    throw new CoppiceError('unavailable', 'init_died', `The init of ${id} ended at once.`, {
      retryable: false,
      facts: { exitCode: found?.State.ExitCode, detail: found?.State.Error, log: log.toString('utf8') },
      hint: `coppice logs ${id}`,
    })
  }
}

/** The limits asked for, when the container was made with others. */
function changedLimits({ HostConfig }: ContainerInspection, spec: SandboxSpec): ContainerUpdate | undefined {
  const limits = containerLimits(spec.limits)
  const has = HostConfig as Record<string, unknown>
  return Object.entries(limits).some(([key, value]) => has[key] !== value) ? limits : undefined
}
