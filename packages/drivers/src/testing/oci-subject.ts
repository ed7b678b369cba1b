import { createHash } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import type { Subject } from '../contract/subject.ts'
import type { DriverImage, SandboxSpec, SavedFiles } from '../driver.ts'
import { runCommand } from '../host/command.ts'
import { mountsUnder } from '../host/mounts.ts'
import { detectCgroups } from '../oci/cgroups/detect.ts'
import { groupsUnder, readText } from '../oci/cgroups/tree.ts'
import { createOciDriver, DEFAULT_UID_BASE } from '../oci/driver.ts'
import { makeBusyboxLayer } from './busybox-layer.ts'
import { SavedImages } from './saved-images.ts'
import { Workspace } from './workspace.ts'

/** The oci driver over a busybox image, for tests. */
export class OciSubject implements Subject {
  readonly workspace: Workspace
  readonly layer: string
  #saved: Promise<SavedImages> | undefined

  private constructor(workspace: Workspace) {
    this.workspace = workspace
    this.layer = makeBusyboxLayer(join(workspace.path, 'layer'), DEFAULT_UID_BASE)
  }

  /** The subject, or why the driver cannot be examined here. */
  static async open(): Promise<OciSubject | { unavailable: string }> {
    if (process.getuid?.() !== 0) return { unavailable: 'the oci driver needs root' }
    const subject = new OciSubject(await Workspace.make())
    const driver = subject.open()
    const { available, detail } = await driver.probe(Progress.none())
    await driver.close()
    if (available) return subject
    await subject.close()
    return { unavailable: detail }
  }

  open(): ReturnType<typeof createOciDriver> {
    return createOciDriver({ home: this.workspace.home, pollMs: 100 })
  }

  spec(changes: Partial<SandboxSpec> = {}): SandboxSpec {
    return this.workspace.spec([this.layer], changes)
  }

  brokenSpec(): SandboxSpec {
    return this.spec({ runtimeDir: join(this.workspace.path, 'nothing-here') })
  }

  /** Through runc: namespaces, capabilities and filter of the sandbox, without a supervisor. */
  async inside(id: string, argv: string[], user = '0:0'): Promise<{ exitCode: number; output: string }> {
    const state = join(this.folder(id), 'runc')
    const { exitCode, text } = await runCommand('runc', ['--root', state, 'exec', '--user', user, id, ...argv])
    return { exitCode: exitCode ?? -1, output: text }
  }

  async onTop(spec: SandboxSpec, saved: SavedFiles): Promise<DriverImage> {
    this.#saved ??= SavedImages.open(this.workspace, DEFAULT_UID_BASE, false)
    return (await this.#saved).onTop(spec, saved)
  }

  /** Files of saves, and sandboxes that are held still. */
  async savingResidue(): Promise<string[]> {
    const root = join(this.workspace.home, 'drivers', 'oci')
    const folders = existsSync(root) ? readdirSync(root) : []
    const files = folders.flatMap((id) => readdirSync(join(root, id)).filter((name) => name.startsWith('saving')))
    return [...files, ...this.groups().filter(isFrozen)]
  }

  folder(id: string): string {
    return join(this.workspace.home, 'drivers', 'oci', id)
  }

  async residue(): Promise<string[]> {
    const root = join(this.workspace.home, 'drivers', 'oci')
    const folders = existsSync(root) ? readdirSync(root) : []
    return [...folders, ...(await mountsUnder(this.workspace.path)), ...this.groups(), ...(await this.processes())]
  }

  /** Cgroup folders of this home. */
  groups(): string[] {
    const home = createHash('sha256').update(this.workspace.home).digest('hex').slice(0, 8)
    const layout = detectCgroups()
    const mounts = layout.version === 1 ? [...new Set(layout.controllers.values())] : [layout.mount]
    return mounts.flatMap((mount) => groupsUnder(`${mount}/coppice/${home}`))
  }

  /** Processes that name this workspace or run from it. */
  async processes(): Promise<string[]> {
    const { text } = await runCommand('ps', ['-eo', 'pid,uid,args'])
    return text.split('\n').filter((line) => / \/\.coppice\/|runc /.test(line) && line.includes(this.workspace.path))
  }

  async removeAll(): Promise<void> {
    const driver = this.open()
    for (const { id } of await driver.list(Progress.none())) await driver.remove(id, Progress.none())
    await driver.close()
  }

  async close(): Promise<void> {
    await this.removeAll()
    this.workspace.remove()
  }
}

/** Of either version; false for groups of other controllers. */
function isFrozen(group: string): boolean {
  const states = { 'freezer.state': 'FR', 'cgroup.freeze': '1' }
  return Object.entries(states).some(([file, state]) => readText(`${group}/${file}`)?.startsWith(state))
}
