import { chmodSync, chownSync, closeSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CoppiceError, type Limits, type Progress, type ResourceUse } from '@coppice/protocol/wire'
import type { InterceptPlan, SandboxSpec, SavedFiles } from '../driver.ts'
import { maxOpenFiles } from '../host/limits.ts'
import { unmountAll, unmounted } from '../host/mounts.ts'
import { type ProcessIdentity, signalProcess, waitGone } from '../host/process.ts'
import { killHolders } from '../host/process-search.ts'
import type { Engine } from '../lifecycle/engine.ts'
import type { SandboxFolder } from '../lifecycle/folder.ts'
import { openInitLog } from '../lifecycle/logs.ts'
import type { SandboxRecord } from '../lifecycle/record.ts'
import { writeSupervisorConfig } from '../lifecycle/supervisor-config.ts'
import { requireReadableAccounts } from './accounts.ts'
import type { SandboxCgroups } from './cgroups/cgroups.ts'
import { sandboxConfig } from './config.ts'
import { intercept } from './intercept/intercept.ts'
import { renewResolverFile, writeNetworkFiles } from './network-files.ts'
import { makeOverlayFolders, mountOverlay, overlayFolders } from './overlay.ts'
import { type Runc, runcInit, runcPaths } from './runc.ts'
import type { OciSaves } from './saves.ts'

/** Milliseconds after which a killed init must be held up by something frozen. It takes a few else. */
const FROZEN_AFTER_MS = 200

/** Sandboxes as runc containers over overlayfs, without a daemon. */
export class OciEngine implements Engine {
  readonly #cgroups: SandboxCgroups
  readonly #runc: Runc
  readonly #saves: OciSaves
  readonly #uidBase: number
  readonly #maxOpenFiles = maxOpenFiles()

  constructor(cgroups: SandboxCgroups, runc: Runc, uidBase: number, saves: OciSaves) {
    this.#cgroups = cgroups
    this.#runc = runc
    this.#saves = saves
    this.#uidBase = uidBase
  }

  async launch(folder: SandboxFolder, spec: SandboxSpec, fresh: boolean, progress: Progress): Promise<ProcessIdentity> {
    const overlay = overlayFolders(folder.path)
    const owner = this.#uidBase
    if (fresh) {
      // The sandbox's root passes through by its group; nobody else of the host gets at setuid programs in here.
      chownSync(folder.path, 0, owner)
      chmodSync(folder.path, 0o710)
      makeOverlayFolders(overlay, spec.image.layers, owner)
      mkdirSync(folder.state, { mode: 0o700 })
      chownSync(folder.state, owner, owner)
    }
    await progress.race(unmounted(overlay.merged))
    await mountOverlay(overlay, spec.image.layers, progress)
    if (fresh) writeNetworkFiles(overlay.merged, spec.hostname, owner)
    else renewResolverFile(overlay.merged, spec.hostname, owner)
    requireReadableAccounts(overlay.merged)
    await this.#cgroups.prepare(spec.id, owner)
    writeSupervisorConfig(spec.runDir, spec.supervisor, owner)
    const config = sandboxConfig({
      spec,
      rootfs: overlay.merged,
      stateDir: folder.state,
      uidBase: owner,
      cgroups: this.#cgroups,
      maxOpenFiles: this.#maxOpenFiles,
    })
    writeFileSync(join(folder.path, 'config.json'), JSON.stringify(config), { mode: 0o600 })
    return this.#run(folder, progress)
  }

  async #run(folder: SandboxFolder, progress: Progress): Promise<ProcessIdentity> {
    const paths = runcPaths(folder.path)
    writeFileSync(paths.log, '')
    const output = openInitLog(folder)
    try {
      if (this.#cgroups.adopts) {
        await this.#runc.create(folder.id, paths, output, progress)
        this.#cgroups.adopt(folder.id, this.#init(folder).pid)
        await this.#runc.start(folder.id, paths, output, progress)
      } else {
        await this.#runc.run(folder.id, paths, output, progress)
      }
    } finally {
      closeSync(output)
    }
    return this.#init(folder)
  }

  #init(folder: SandboxFolder): ProcessIdentity {
    const init = runcInit(folder.id, runcPaths(folder.path))
    if (init) return init
    throw new CoppiceError('unavailable', 'init_died', `The init of ${folder.id} ended at once.`, {
      retryable: false,
      facts: { log: readFileSync(folder.initLog, 'utf8').slice(-4096) },
      hint: `coppice logs ${folder.id}`,
    })
  }

  async release(folder: SandboxFolder, record: SandboxRecord | undefined): Promise<void> {
    const paths = runcPaths(folder.path)
    // A runc whose caller was killed goes on by itself, and would make what is being removed here.
    if (record?.init == null) await killHolders(folder.initLog)
    await this.#cgroups.destroy(folder.id)
    await unmountAll(folder.path)
    rmSync(paths.state, { recursive: true, force: true })
  }

  async kill(folder: SandboxFolder, init: ProcessIdentity): Promise<void> {
    signalProcess(init, 'SIGKILL')
    // What keeps a killed init is a member of its PID namespace that cannot die: a frozen one.
    if (!(await waitGone(init, FROZEN_AFTER_MS))) this.#cgroups.thaw(folder.id)
  }

  async leftovers(): Promise<string[]> {
    return this.#cgroups.ids()
  }

  use(folder: SandboxFolder): ResourceUse {
    return this.#cgroups.use(folder.id)
  }

  resize(folder: SandboxFolder, _init: ProcessIdentity, limits: Limits, progress: Progress): Promise<void> {
    return this.#cgroups.resize(folder.id, limits, progress)
  }

  saveFiles(folder: SandboxFolder, progress: Progress): Promise<SavedFiles> {
    return this.#saves.save(folder, progress)
  }

  /** There is no daemon that tells anything: only what a crash has left is taken back. */
  listen(): () => void {
    this.#saves.tidyAll()
    return () => {}
  }

  initOomKilled(folder: SandboxFolder): boolean {
    return this.#cgroups.initOomKills(folder.id) > 0
  }

  intercept(init: ProcessIdentity, plan: InterceptPlan, progress: Progress): Promise<{ ok: boolean; detail: string }> {
    return intercept(init, plan, progress)
  }

  idle(): void {
    this.#cgroups.prune()
  }
}
