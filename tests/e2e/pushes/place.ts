import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { PrivateDocker } from '@coppice/engines/testing'
import { type BigArchiveOptions, bigDockerArchive, makeBusyboxArchive } from '@coppice/images/testing'
import { afterAll, beforeAll } from 'vitest'
import { CoppiceCommand } from '../../support/command.ts'
import { openWorld, type World } from '../../support/world.ts'

/** A gateway beside a real Docker that runs a container `node`. */
export class Place {
  readonly docker: PrivateDocker
  readonly world: World
  readonly coppice: CoppiceCommand
  readonly dir: string
  readonly #disks: string[]

  private constructor(docker: PrivateDocker, world: World, dir: string, disks: string[]) {
    this.docker = docker
    this.world = world
    this.coppice = new CoppiceCommand(world.gateway.home)
    this.dir = dir
    this.#disks = disks
  }

  /**
   * @param disks small file systems, by name: `node` has them as `/NAME`; mount options such as `size=1m`
   * @param env of the gateway; `{NAME}` in it is a disk's folder on the host
   */
  static async open(
    disks: Record<string, string> = {},
    env: Record<string, string> = {},
  ): Promise<Place | { unavailable: string }> {
    const docker = await PrivateDocker.open()
    if ('unavailable' in docker) return docker
    const dir = mkdtempSync(join(tmpdir(), 'coppice-pushes-'))
    const at = (name: string) => join(dir, 'disks', name)
    for (const [name, options] of Object.entries(disks)) {
      mkdirSync(at(name), { recursive: true })
      execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', at(name)])
    }
    const filled = Object.fromEntries(
      Object.entries(env).map(([key, text]) => [key, text.replace(/\{(.+)\}/, (_, name) => at(name))]),
    )
    const world = await openWorld({}, { DOCKER_HOST: `unix://${docker.socket}`, ...filled })
    const place = new Place(docker, world, dir, Object.keys(disks).map(at))
    await docker.run('import', await makeBusyboxArchive(join(dir, 'busybox.tar')), 'busybox:1')
    await place.container('node', ...Object.keys(disks).flatMap((name) => ['--volume', `${at(name)}:/${name}`]))
    return place
  }

  /** Folder of a small disk on the host. */
  disk(name: string): string {
    return join(this.dir, 'disks', name)
  }

  async container(name: string, ...flags: string[]): Promise<void> {
    await this.docker.run(
      'run',
      '--detach',
      '--name',
      name,
      '--network',
      'none',
      // Its program, the first of its container, ignores SIGTERM: at its own end an engine waits 10 s for that.
      '--stop-signal',
      'KILL',
      ...flags,
      'busybox:1',
      'sleep',
      '10000',
    )
  }

  /** An image of bytes that nothing can pack, in the store and, as `NAME:1`, in the engine. Returns the diff ids of its layers. */
  async image(name: string, options: Omit<BigArchiveOptions, 'name'>): Promise<string[]> {
    let diffIds: string[] = []
    async function* archive() {
      diffIds = yield* bigDockerArchive({ ...options, name: `${name}:1` })
    }
    await this.world.client.images.import(Readable.from(archive()), { name })
    await this.world.client.images.push(name, `docker-daemon:${name}:1`)
    return diffIds
  }

  /** What a command says in `node`. */
  async inNode(...argv: string[]): Promise<string> {
    return (await this.docker.run('exec', 'node', ...argv)).output.trim()
  }

  /** Files of pushes that the gateway has, with a name or without. */
  scratch(): string[] {
    const named = readdirSync(join(this.world.gateway.home, 'scratch'))
    const fds = `/proc/${this.world.gateway.pid}/fd`
    const open = readdirSync(fds).flatMap((fd) => {
      try {
        const file = readlinkSync(join(fds, fd))
        return file.includes('/transfer-') ? [file] : []
      } catch {
        return []
      }
    })
    return [...named, ...open]
  }

  async close(): Promise<void> {
    await this.world.dispose()
    await this.docker.close()
    for (const disk of this.#disks) execFileSync('umount', ['--lazy', disk])
    rmSync(this.dir, { recursive: true })
  }
}

/** What tests have of a place that is opened before them and closed after them. */
export interface OpenedPlace {
  /** For a test: skipped, with the reason, where there is none. */
  of(context: { skip: (why: string) => never }): Place
  /** For hooks: undefined where there is none. */
  readonly found: Place | undefined
}

/**
 * Opens a place before the tests of this file or block, and closes it after them.
 * @param open as `Place.open`
 * @param prepare what the tests need in it
 */
export function placeOf(
  open: () => ReturnType<typeof Place.open>,
  limitMs: number,
  prepare: (place: Place) => Promise<void> = async () => {},
): OpenedPlace {
  let opened: Awaited<ReturnType<typeof Place.open>>
  const found = () => ('unavailable' in opened ? undefined : opened)
  beforeAll(async () => {
    opened = await open()
    if ('close' in opened) await prepare(opened)
  }, limitMs)
  afterAll(async () => {
    await found()?.close()
  }, 60_000)
  return {
    of: (context) => ('unavailable' in opened ? context.skip(opened.unavailable) : opened),
    get found() {
      return found()
    },
  }
}
