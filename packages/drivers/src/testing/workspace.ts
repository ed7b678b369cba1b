import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { newSandboxId, type SupervisorConfig } from '@coppice/protocol/wire'
import { stageRuntime } from '@coppice/runtime'
import type { SandboxSpec } from '../driver.ts'

/** A folder of a test's own, with a home, a runtime bundle and socket folders in it. */
export class Workspace {
  readonly path: string
  readonly bundle: string

  private constructor(path: string, bundle: string) {
    this.path = path
    this.bundle = bundle
  }

  /** @param ownBundle for who tells this workspace's processes by the path of their bundle; else one serves a whole test run */
  static async make({ ownBundle = false } = {}): Promise<Workspace> {
    const path = await mkdtemp(join(tmpdir(), 'coppice-drivers-'))
    // A sandbox's root is another user for the host and must get through.

    chmodSync(path, 0o711)
    const entry = join(import.meta.dirname, 'entry.ts')
    const cacheDir = join((!ownBundle && process.env.COPPICE_TEST_SHARED) || path, 'runtime')
    const { dir } = await stageRuntime({ cacheDir, entry, flags: ['--v8-pool-size=1'] })
    mkdirSync(join(path, 'home'), { mode: 0o711 })
    return new Workspace(path, dir)
  }

  get home(): string {
    return join(this.path, 'home')
  }

  /** A sandbox over the layers given, with a socket folder of its own. */
  spec(layers: string[], changes: Partial<SandboxSpec> = {}): SandboxSpec {
    const id = changes.id ?? newSandboxId()
    const runDir = join(this.path, 'run', encodeURIComponent(id) || 'empty')
    mkdirSync(runDir, { recursive: true })
    return {
      id,
      hostname: 'sandbox',
      image: {
        digest: `sha256:${'0'.repeat(64)}`,
        layers,
        config: { env: {}, cwd: '/', user: '', entrypoint: [], cmd: [], labels: {} },
      },
      limits: { memoryMB: 256, cpus: 1, pids: 128 },
      readOnlyRoot: false,
      runtimeDir: this.bundle,
      runDir,
      supervisor: supervisorConfig(id),
      labels: { 'coppice.home': this.home, 'coppice.sandbox': id },
      ...changes,
    }
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}

function supervisorConfig(sandboxId: string): SupervisorConfig {
  return {
    sandboxId,
    token: 'token',
    leaseMs: 12_000,
    boundMs: 30_000,
    defaults: { env: {}, cwd: '/', user: '' },
    journal: { memoryBytes: 1024, diskBytes: 1024 },
    resultRetentionMs: 1000,
    network: null,
    drainMs: 250,
  }
}
