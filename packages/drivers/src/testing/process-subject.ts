import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import type { Subject } from '../contract/subject.ts'
import type { SandboxSpec } from '../driver.ts'
import { runCommand } from '../host/command.ts'
import { createProcessDriver } from '../process/driver.ts'
import { Workspace } from './workspace.ts'

/** The process driver, for tests. */
export class ProcessSubject implements Subject {
  readonly workspace: Workspace

  private constructor(workspace: Workspace) {
    this.workspace = workspace
  }

  static async open(): Promise<ProcessSubject> {
    return new ProcessSubject(await Workspace.make({ ownBundle: true }))
  }

  open(): ReturnType<typeof createProcessDriver> {
    return createProcessDriver({ home: this.workspace.home, pollMs: 100 })
  }

  spec(changes: Partial<SandboxSpec> = {}): SandboxSpec {
    return this.workspace.spec([], changes)
  }

  brokenSpec(): SandboxSpec {
    return this.spec({ runtimeDir: join(this.workspace.path, 'nothing-here') })
  }

  async residue(): Promise<string[]> {
    const root = join(this.workspace.home, 'drivers', 'process')
    const { text } = await runCommand('ps', ['-ewwo', 'pid,args'])
    const processes = text.split('\n').filter((line) => line.includes(this.workspace.bundle))
    return [...(existsSync(root) ? readdirSync(root) : []), ...processes]
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
