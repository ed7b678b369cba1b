import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'

const execute = promisify(execFile)

export interface RegistryServerOptions {
  /** Asks for this name and password. Default: everybody may do everything. */
  login?: { username: string; password: string }
  /** Speaks TLS, with a certificate and its key; with `clientAuthority` only to who shows a certificate of that. All are files. */
  tls?: { certificate: string; key: string; clientAuthority?: string }
}

/** Debian's `docker-registry` on a port of loopback, with its files in a temporary folder. */
export class RegistryServer {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  readonly #process: ChildProcess
  readonly #dir: string

  private constructor(host: string, child: ChildProcess, dir: string) {
    this.host = host
    this.#process = child
    this.#dir = dir
  }

  /** Why it cannot run here, or undefined. */
  static async missing(): Promise<string | undefined> {
    for (const program of ['docker-registry', 'htpasswd', 'openssl', 'skopeo']) {
      const found = await execute('sh', ['-c', `command -v ${program}`]).catch(() => undefined)
      if (!found) return `${program} is not installed`
    }
    return undefined
  }

  static async start(options: RegistryServerOptions = {}): Promise<RegistryServer> {
    const dir = await mkdtemp(join(tmpdir(), 'coppice-registry-'))
    const config: Record<string, unknown> = {
      version: '0.1',
      log: { level: 'info', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: join(dir, 'data') }, delete: { enabled: true } },
      // A port that was free a moment ago may be another's by now: it says which one it has got.
      http: { addr: '127.0.0.1:0', secret: 'of this test', ...(options.tls && { tls: tlsConfig(options.tls) }) },
    }
    if (options.login) {
      const { username, password } = options.login
      const { stdout } = await execute('htpasswd', ['-Bbn', username, password])
      await writeFile(join(dir, 'htpasswd'), stdout)
      config.auth = { htpasswd: { realm: 'test', path: join(dir, 'htpasswd') } }
    }
    // JSON is YAML.
    await writeFile(join(dir, 'config.yml'), JSON.stringify(config))
    const log = await open(join(dir, 'log'), 'a')
    const child = spawn('docker-registry', ['serve', join(dir, 'config.yml')], { stdio: ['ignore', log.fd, log.fd] })
    await log.close()
    return new RegistryServer(await listening(child, join(dir, 'log')), child, dir)
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode === null) {
      const exited = once(this.#process, 'exit')
      this.#process.kill('SIGKILL')
      await exited
    }
    await rm(this.#dir, { recursive: true, force: true })
  }
}

/** Where it listens, once it does. */
async function listening(child: ChildProcess, log: string): Promise<string> {
  for (;;) {
    const text = await readFile(log, 'utf8')
    const found = /listening on (127\.0\.0\.1:\d+)/.exec(text)?.[1]
    if (found) return found
    const ended = child.exitCode ?? child.signalCode
    if (ended !== null) throw new Error(`docker-registry ended with ${ended}:\n${text}`)
    await delay(20)
  }
}

function tlsConfig({ certificate, key, clientAuthority }: NonNullable<RegistryServerOptions['tls']>) {
  return { certificate, key, ...(clientAuthority !== undefined && { clientcas: [clientAuthority] }) }
}
