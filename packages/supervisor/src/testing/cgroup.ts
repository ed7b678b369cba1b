import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const ROOT = '/sys/fs/cgroup'
/** Where version 2 is mounted: alone, or beside version 1 (then without controllers, but it can freeze and kill). */
const UNIFIED = [ROOT, join(ROOT, 'unified')]

/** A delegated cgroup as drivers make it: version 1 a folder with writable `memory` and `freezer`, version 2 one cgroup. */
export class TestCgroup {
  readonly dir: string
  readonly #temp: string
  readonly #groups: readonly string[]

  private constructor(roots: readonly string[], names: readonly string[] | undefined) {
    this.#temp = mkdtempSync(join(tmpdir(), 'coppice-cgroup-'))
    const name = `coppice-sup-test-${process.pid}-${this.#temp.slice(-6)}`
    this.#groups = roots.map((root) => join(root, name))
    for (const group of this.#groups) mkdirSync(group)
    names?.forEach((link, index) => {
      symlinkSync(this.#groups[index] as string, join(this.#temp, link))
    })
    this.dir = names ? this.#temp : (this.#groups[0] as string)
  }

  /** Undefined where there are no writable cgroups of that version. */
  static make(version: 'cgroup-v1' | 'cgroup-v2' = 'cgroup-v1'): TestCgroup | undefined {
    if (process.getuid?.() !== 0) return undefined
    if (version === 'cgroup-v2') {
      const root = UNIFIED.find((path) => existsSync(join(path, 'cgroup.controllers')))
      return root === undefined ? undefined : new TestCgroup([root], undefined)
    }
    const names = ['memory', 'freezer']
    const roots = names.map((name) => join(ROOT, name))
    return roots.every((root) => existsSync(join(root, 'cgroup.procs'))) ? new TestCgroup(roots, names) : undefined
  }

  /** Groups of execs that are there now. */
  groups(): string[] {
    const group = this.#groups[this.#groups.length - 1] as string
    return childrenOf(group).filter((name) => name.startsWith('x'))
  }

  /** Version 1 only. */
  limitMemory(bytes: number): void {
    writeFileSync(join(this.#groups[0] as string, 'memory.limit_in_bytes'), String(bytes))
  }

  /** False while something lives in it. */
  remove(): boolean {
    try {
      for (const group of this.#groups) {
        for (const child of existsSync(group) ? childrenOf(group) : []) rmdirSync(join(group, child))
        if (existsSync(group)) rmdirSync(group)
      }
    } catch {
      return false
    }
    rmSync(this.#temp, { recursive: true, force: true })
    return true
  }
}

function childrenOf(group: string): string[] {
  return readdirSync(group, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [entry.name] : []))
}
