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
import { noteAsked, noteContainer, ownContainer } from './own.ts'
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
    let container: string
    let limits: ContainerUpdate | undefined
    if (fresh) {
      const input = { spec, paths, dialect: engine.dialect, shifted: root.shifted, maxOpenFiles: this.#maxOpenFiles }
      container = await this.#create(engine, folder, input, progress)
    } else {
      const found = await this.#stopped(engine, folder, progress)
      container = found.Id
      limits = changedLimits(found, spec)
    }
    const early = engine.dialect.limitUpdates === 'docker'
    if (limits && early) await uncut(progress, (own) => engine.containers.update(container, limits, own))
    await uncut(progress, (own) => engine.containers.start(container, own))
    // The supervisor has not dialled in yet: nothing of the sandbox's user runs.
    if (limits && !early) await uncut(progress, (own) => engine.containers.update(container, limits, own))
    return this.#init(engine, container, folder.id, progress)
  }

  /** Gives a running container other limits. Throws `failed_precondition/limits_refused` with the engine's words, or `files_gone`. */
  async resize(folder: SandboxFolder, limits: Limits, progress: Progress): Promise<void> {
    const { id } = folder
    const engine = await this.#link.reach(progress)
    const container = await ownContainer(engine, this.#names, folder, progress)
    if (!container) throw filesGone(engine, id, this.#names.container(id))
    try {
      await uncut(progress, (own) => engine.containers.update(container.Id, containerLimits(limits), own))
    } catch (cause) {
      const error = CoppiceError.from(cause)
      if (error.reason !== 'engine_refused') throw cause
      throw limitsRefused(id, error.message, { facts: error.facts, cause })
    }
  }

  /** Returns the container's id. */
  async #create(
    engine: Engine,
    folder: SandboxFolder,
    input: Omit<Parameters<typeof sandboxContainer>[0], 'image'>,
    progress: Progress,
  ): Promise<string> {
    const name = this.#names.container(folder.id)
    const make = async (): Promise<string> => {
      const image = await this.#images.ensure(engine, input.spec.image, progress)
      noteAsked(folder)
      return uncut(progress, async (own) => {
        const made = await engine.containers.create(name, sandboxContainer({ ...input, image }), own)
        noteContainer(folder, made)
        return made
      })
    }
    try {
      return await make()
    } catch (cause) {
      // Somebody removed the image in between.
      if (CoppiceError.from(cause).code !== 'not_found') throw cause
      return await make()
    }
  }

  /** The container of a stopped sandbox, once the engine knows that it is stopped. */
  async #stopped(engine: Engine, folder: SandboxFolder, progress: Progress): Promise<ContainerInspection> {
    const own = await ownContainer(engine, this.#names, folder, progress)
    const found = own && (await settled(engine, own.Id, progress))
    if (!found) throw filesGone(engine, folder.id, this.#names.container(folder.id))
    return found
  }

  /** The init of a container that was started. Throws `unavailable/init_died`, `unsupported/engine_elsewhere`. */
  async #init(engine: Engine, container: string, id: string, progress: Progress): Promise<ProcessIdentity> {
    const found = (await engine.containers.inspect(container, progress)) as ContainerInspection
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
    const log = await outputTail(engine, container, 4096, progress).catch(() => Buffer.alloc(0))
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
