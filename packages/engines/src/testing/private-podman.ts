import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PrivateEngine } from './private-engine.ts'

/**
 * A `podman system service` of a test's own. With runc, because crun refuses a hybrid cgroup layout; with limits of open files that
 * this process may hand on, because podman's default is higher and raising it needs a capability.
 */
export class PrivatePodman extends PrivateEngine {
  readonly kind = 'podman'

  readonly #runtime: string

  private constructor(runtime: string) {
    super()
    this.#runtime = runtime
    const files = /^Max open files\s+(\d+)\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
    const processes = /^Max processes\s+(\d+)\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
    const ulimits = [
      ...(files ? [`nofile=${files[1]}:${files[2]}`] : []),
      ...(processes ? [`nproc=${processes[1]}:${processes[2]}`] : []),
    ]
    const text = `[containers]\ndefault_ulimits = ${JSON.stringify(ulimits)}\n[engine]\nevents_logger = "file"\n`
    writeFileSync(join(this.dir, 'containers.conf'), text)
    // Not the host's. For a test to fill before the first pull: it is read once.
    writeFileSync(this.registriesFile, '')
  }

  /** The engine, running, or why there cannot be one here. `runtime`: a program in place of runc. */
  static async open(runtime = 'runc'): Promise<PrivatePodman | { unavailable: string }> {
    if (process.getuid?.() !== 0) return { unavailable: 'this podman needs root' }
    const engine = new PrivatePodman(runtime)
    try {
      await engine.start()
      return engine
    } catch (cause) {
      await engine.close()
      return { unavailable: `no podman starts here (apt-get install podman): ${String(cause).slice(-1000)}` }
    }
  }

  protected daemon(): { program: string; args: string[]; env: Record<string, string> } {
    return this.#podman(['system', 'service', '--time=0', `unix://${this.socket}`])
  }

  /** Which registries it knows, as in `registries.conf`. */
  get registriesFile(): string {
    return join(this.dir, 'registries.conf')
  }

  /** Over the same folders, without the service. */
  protected commandLine(args: string[]): { program: string; args: string[]; env: Record<string, string> } {
    return this.#podman(args)
  }

  #podman(args: string[]): { program: string; args: string[]; env: Record<string, string> } {
    const at = (name: string): string => join(this.dir, name)
    const folders = ['--root', at('root'), '--runroot', at('run'), '--tmpdir', at('tmp')]
    const manner = ['--runtime', this.#runtime, '--cgroup-manager', 'cgroupfs']
    const env = {
      CONTAINERS_CONF: at('containers.conf'),
      CONTAINERS_REGISTRIES_CONF: this.registriesFile,
      TMPDIR: this.dir,
    }
    return { program: 'podman', args: [...folders, ...manner, ...args], env }
  }
}
