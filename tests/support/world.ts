import { type ChildProcess, spawn } from 'node:child_process'
import { createReadStream, existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { makeBusyboxArchive } from '@coppice/images/testing'
import { homeAt } from '@coppice/protocol/home'
import { Coppice, Sandbox, type SandboxOptions } from '@coppice/sdk'
import { expect } from 'vitest'
import { GatewayProcess, makeHome, ROOT } from './gateway-process.ts'
import { hostProcesses, processesWith } from './host.ts'
import { LinkProxy } from './link-proxy.ts'

/** A client of its own process, that can be killed. */
export interface ClientProcess {
  /** Id of the exec that it started. */
  execId: Promise<string>
  kill(): void
}

/** A gateway with a busybox image, its client, and the means to break what lies between them. */
export class World {
  readonly gateway: GatewayProcess
  readonly client: Coppice

  constructor(gateway: GatewayProcess, client: Coppice) {
    this.gateway = gateway
    this.client = client
  }

  create(options: Partial<SandboxOptions> = {}): Promise<Sandbox> {
    return Sandbox.create({ from: 'busybox', memoryMB: 512, client: this.client, ...options })
  }

  /** Many sandboxes, a few at a time. */
  async createMany(count: number, options: Partial<SandboxOptions> = {}): Promise<Sandbox[]> {
    const made: Sandbox[] = []
    let begun = 0
    const worker = async () => {
      while (begun < count) {
        begun += 1
        made.push(await this.create(options))
      }
    }
    await Promise.all(Array.from({ length: 4 }, worker))
    return made
  }

  /** PID of a sandbox's init, as the host sees it. */
  initPid(sandbox: Sandbox): number {
    const found = hostProcesses().find(({ pid, innerPid, cmdline }) => {
      if (innerPid !== 1 || !cmdline.includes('/.coppice/tini')) return false
      try {
        return readFileSync(`/proc/${pid}/root/.coppice-run/sandbox.json`, 'utf8').includes(`"${sandbox.id}"`)
      } catch {
        return false
      }
    })
    if (!found) throw new Error(`no init of ${sandbox.id} was found`)
    return found.pid
  }

  /** PID of a sandbox's supervisor, as the host sees it. */
  supervisorPid(sandbox: Sandbox): number {
    const found = processesWith(this.initPid(sandbox)).find(({ comm }) => comm.startsWith('coppice-superv'))
    if (!found) throw new Error(`no supervisor of ${sandbox.id} was found`)
    return found.pid
  }

  /** Puts a proxy into a sandbox's link. The supervisor is killed once, so that its next session comes through it. */
  async interpose(sandbox: Sandbox): Promise<LinkProxy> {
    const link = await LinkProxy.interpose(join(homeAt(this.gateway.home).run, sandbox.id))
    process.kill(this.supervisorPid(sandbox), 'SIGKILL')
    await this.until(() => link.opened > 0, 'the supervisor to dial through the proxy', 20_000)
    await sandbox.exec(['true'])
    return link
  }

  /** Waits for a condition of the world outside this process, which sends no event. Fails with `what` after `ms`. */
  async until(condition: () => boolean | Promise<boolean>, what: string, ms = 30_000): Promise<void> {
    const end = performance.now() + ms
    while (!(await condition())) {
      if (performance.now() > end) throw new Error(`waited ${ms} ms for ${what}`)
      await delay(10)
    }
  }

  /** Runs `command` from a process of its own. */
  async clientProcess(
    sandbox: Sandbox,
    command: string,
    options: Record<string, unknown> = {},
  ): Promise<ClientProcess> {
    const program = `
      const { Sandbox } = await import(process.argv[1])
      const sandbox = await Sandbox.connect(process.argv[2])
      const exec = await sandbox.spawn(process.argv[3], JSON.parse(process.argv[4]))
      await exec.started
      console.log(exec.id)
      await exec.result`
    const entry = join(ROOT, 'packages/sdk/src/index.ts')
    const child: ChildProcess = spawn(
      process.execPath,
      ['--input-type=module', '-e', program, entry, sandbox.id, command, JSON.stringify(options)],
      { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, COPPICE_HOME: this.gateway.home } },
    )
    const execId = new Promise<string>((resolve, reject) => {
      child.stdout?.once('data', (chunk: Buffer) => resolve(chunk.toString().trim()))
      child.once('exit', () => reject(new Error('the client ended before it had started its exec')))
    })
    execId.catch(() => {})
    return { execId, kill: () => child.kill('SIGKILL') }
  }

  /** Removes every sandbox, ends the gateway, and checks that nothing of it is left on the host. */
  async dispose(): Promise<void> {
    const sandboxes = await this.client.sandboxes.list()
    await Promise.all(sandboxes.map(({ id }) => this.client.sandboxes.remove(id)))
    await this.gateway.stop()
    const left = leftovers(this.gateway.home)
    await this.gateway.dispose()
    expect(left).toEqual([])
  }
}

/** Mounts, cgroups with something in them, and the folder of sockets, that belong to a home whose gateway was stopped. */
export function leftovers(home: string): string[] {
  const { hash, run } = homeAt(home)
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(home))
  const places = ['memory', 'freezer', 'cpu', 'pids', 'unified', ''].map((controller) =>
    join('/sys/fs/cgroup', controller, 'coppice', hash),
  )
  const groups = places.filter((path) => existsSync(path) && hasChildren(path))
  return [...mounts, ...groups, ...(existsSync(run) ? [run] : [])]
}

function hasChildren(cgroup: string): boolean {
  return readFileSync(join(cgroup, 'cgroup.procs'), 'utf8') !== ''
}

/** A gateway over a new home with the given configuration, and a busybox image in its store. */
export async function openWorld(
  config: Record<string, unknown> = {},
  env: Record<string, string> = {},
): Promise<World> {
  const gateway = new GatewayProcess(makeHome(config), env)
  await gateway.start()
  const client = new Coppice({ home: gateway.home })
  const archive = await makeBusyboxArchive(join(gateway.home, 'busybox.tar'))
  await client.images.import(createReadStream(archive), { name: 'busybox' })
  return new World(gateway, client)
}
