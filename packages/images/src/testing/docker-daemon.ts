import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** A Docker engine of a test's own, empty, with its folders and socket in a temporary folder. */
export class DockerDaemon {
  readonly #process: ChildProcess
  readonly #dir: string

  private constructor(child: ChildProcess, dir: string) {
    this.#process = child
    this.#dir = dir
  }

  /** Or the reason why none can run here. */
  static async start(): Promise<DockerDaemon | string> {
    const dir = await mkdtemp(join(tmpdir(), 'coppice-dockerd-'))
    const args = [
      `--host=unix://${join(dir, 'docker.sock')}`,
      `--data-root=${join(dir, 'data')}`,
      `--exec-root=${join(dir, 'exec')}`,
      `--pidfile=${join(dir, 'pid')}`,
      '--bridge=none',
      '--iptables=false',
    ]
    const child = spawn('dockerd', args, { stdio: 'ignore' })
    const daemon = new DockerDaemon(child, dir)
    const failed = once(child, 'error').then(
      () => true,
      () => true,
    )
    for (let attempt = 0; attempt < 150; attempt++) {
      const up = await daemon.docker('version').then(
        () => true,
        () => false,
      )
      if (up) return daemon
      const over = await Promise.race([failed, delay(100, false)])
      if (over || child.exitCode !== null) break
    }
    await daemon.stop()
    return 'no Docker engine can be started here'
  }

  /** Runs the `docker` command against it. */
  async docker(...args: string[]): Promise<string> {
    return (await execute('docker', this.arguments(...args), { maxBuffer: 64 * 1024 * 1024 })).stdout.trim()
  }

  /** For who starts the command himself. */
  arguments(...args: string[]): string[] {
    return ['--host', `unix://${join(this.#dir, 'docker.sock')}`, ...args]
  }

  async stop(): Promise<void> {
    if (this.#process.pid !== undefined && this.#process.exitCode === null) {
      const exited = once(this.#process, 'exit')
      this.#process.kill('SIGTERM')
      await exited
    }
    await rm(this.#dir, { recursive: true, force: true })
  }
}
