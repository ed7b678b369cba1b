import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** A Docker engine of its own, with its own folders and socket, that ends with the run. */
export class DockerEngine {
  readonly #daemon: ChildProcess
  readonly #dir: string
  /** As `DOCKER_HOST` names it. */
  readonly host: string

  private constructor(daemon: ChildProcess, dir: string) {
    this.#daemon = daemon
    this.#dir = dir
    this.host = `unix://${join(dir, 'docker.sock')}`
  }

  /** Undefined, with the reason on stderr, where no engine can run. */
  static async start(): Promise<DockerEngine | undefined> {
    const dir = mkdtempSync(join(tmpdir(), 'coppice-bench-docker-'))
    const daemon = spawn(
      'dockerd',
      [
        `--host=unix://${join(dir, 'docker.sock')}`,
        `--data-root=${join(dir, 'data')}`,
        `--exec-root=${join(dir, 'exec')}`,
        `--pidfile=${join(dir, 'pid')}`,
        '--bridge=none',
        '--iptables=false',
      ],
      { stdio: 'ignore' },
    )
    const failed = new Promise<Error>((resolve) => daemon.once('error', resolve))
    const engine = new DockerEngine(daemon, dir)
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const up = await engine.command('version').then(
        () => true,
        () => false,
      )
      if (up) return engine
      const ended = await Promise.race([failed, delay(200)])
      if (ended instanceof Error || daemon.exitCode !== null) break
    }
    process.stderr.write('no Docker engine could be started here: its column stays empty\n')
    await engine.stop()
    return undefined
  }

  /** Runs the `docker` command against this engine. */
  async command(...args: string[]): Promise<string> {
    const { stdout } = await run('docker', ['--host', this.host, ...args], { maxBuffer: 64 * 1024 * 1024 })
    return stdout.trim()
  }

  async stop(): Promise<void> {
    if (this.#daemon.exitCode === null && this.#daemon.pid !== undefined) {
      const exited = once(this.#daemon, 'exit')
      this.#daemon.kill('SIGTERM')
      await exited
    }
    rmSync(this.#dir, { recursive: true, force: true })
  }
}
