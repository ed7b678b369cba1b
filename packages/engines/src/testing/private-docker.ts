import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { PrivateEngine } from './private-engine.ts'

/** A dockerd of a test's own: no bridge, no firewall rules, its own containerd. Needs root. */
export class PrivateDocker extends PrivateEngine {
  readonly kind = 'docker'
  readonly #flags: string[]

  private constructor(flags: string[]) {
    super()
    this.#flags = flags
    // Not the host's configuration.
    writeFileSync(join(this.dir, 'daemon.json'), '{}')
  }

  /** The engine, running, or why there cannot be one here. `flags`: more of dockerd's, such as `--live-restore`. */
  static async open(...flags: string[]): Promise<PrivateDocker | { unavailable: string }> {
    if (process.getuid?.() !== 0) return { unavailable: 'dockerd needs root' }
    const engine = new PrivateDocker(flags)
    try {
      await engine.start()
      return engine
    } catch (cause) {
      await engine.close()
      return { unavailable: `no dockerd starts here (apt-get install docker.io): ${String(cause).slice(-1000)}` }
    }
  }

  /** Its containerd dies with it. Until somebody has collected that, a new dockerd takes it for alive and waits for it. */
  override async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await super.end(signal)
    const file = join(this.dir, 'exec/containerd/containerd.pid')
    if (!existsSync(file)) return
    const containerd = Number(readFileSync(file, 'utf8'))
    while (runs(containerd)) await sleep(5)
    rmSync(file, { force: true })
  }

  protected daemon(): { program: string; args: string[] } {
    const at = (name: string): string => join(this.dir, name)
    const args = [
      ...['--data-root', at('data'), '--exec-root', at('exec'), '--pidfile', at('pid')],
      ...['--host', `unix://${this.socket}`, '--config-file', at('daemon.json')],
      ...['--bridge=none', '--iptables=false', '--ip-forward=false', '--ip-masq=false'],
      ...this.#flags,
    ]
    return { program: 'dockerd', args }
  }

  protected commandLine(args: string[]): { program: string; args: string[]; env: Record<string, string> } {
    const env = { DOCKER_CONFIG: join(this.dir, 'config'), DOCKER_HOST: `unix://${this.socket}` }
    return { program: 'docker', args, env }
  }
}

function runs(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}
