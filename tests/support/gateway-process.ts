import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** Root of the repository. */
export const ROOT = resolve(import.meta.dirname, '../..')

/** As `coppice gateway start` runs it: a small young generation, see packages/cli/src/gateway/start.ts. */
const GATEWAY_NODE_FLAGS = ['--max-semi-space-size=1']

/**
 * A home of its own for a test, with its configuration. Removed by the gateway's `dispose`. The runtime bundle, which is never
 * changed once it is made, is one for all homes of a run.
 * @param dir where it is made
 */
export function makeHome(config: Record<string, unknown> = {}, dir = tmpdir()): string {
  const home = mkdtempSync(join(dir, 'coppice-test-'))
  const shared = process.env.COPPICE_TEST_SHARED
  if (shared) {
    mkdirSync(join(shared, 'runtime'), { recursive: true })
    symlinkSync(join(shared, 'runtime'), join(home, 'runtime'))
  }
  writeFileSync(join(home, 'config.json'), JSON.stringify(config))
  return home
}

/** A gateway as people run it: a process of its own, over one home, that can be killed and started again. */
export class GatewayProcess {
  readonly home: string
  readonly #env: Record<string, string>
  #child: ChildProcess | undefined
  url = ''
  token = ''

  /** @param env added to the gateway's environment */
  constructor(home: string, env: Record<string, string> = {}) {
    this.home = home
    this.#env = env
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error('the gateway does not run')
    return this.#child.pid
  }

  /**
   * Starts it and waits until it has said where it listens.
   * @param env added to its environment this time
   */
  async start(env: Record<string, string> = {}): Promise<void> {
    mkdirSync(join(this.home, 'logs'), { recursive: true })
    const log = createWriteStream(join(this.home, 'logs', 'gateway.log'), { flags: 'a' })
    const child = spawn(
      process.execPath,
      [...GATEWAY_NODE_FLAGS, join(ROOT, 'packages/gateway/src/main.ts'), '--home', this.home],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
        env: { ...process.env, ...this.#env, ...env },
      },
    )
    child.stdout.pipe(log, { end: false })
    child.stderr.pipe(log, { end: false })
    this.#child = child
    for (;;) {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`the gateway did not start:\n${this.log()}`)
      const announced = this.#announced()
      if (announced?.pid === child.pid) {
        this.url = String(announced?.url)
        this.token = readFileSync(join(this.home, 'token'), 'utf8').trim()
        return
      }
      await delay(20)
    }
  }

  /** SIGKILL: it gets no chance to tidy up. */
  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM')
  }

  log(): string {
    return readFileSync(join(this.home, 'logs', 'gateway.log'), 'utf8')
  }

  /** Stops it and deletes its home. Sandboxes must be gone by then. */
  async dispose(): Promise<void> {
    if (this.#child) await this.stop()
    rmSync(this.home, { recursive: true, force: true })
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }

  #announced(): { pid?: number; url?: string } | undefined {
    try {
      return JSON.parse(readFileSync(join(this.home, 'gateway.json'), 'utf8')) as { pid?: number; url?: string }
    } catch {
      return undefined
    }
  }
}
