import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { bigDockerArchive, makeBusyboxArchive } from '@coppice/images/testing'
import { ROOT } from '../../tests/support/gateway-process.ts'
import { growthOf, peakBytes } from '../../tests/support/growth.ts'
import type { World } from '../../tests/support/world.ts'
import type { DockerEngine } from '../docker.ts'
import { type Figure, mib } from '../figures.ts'

const MiB = 1024 ** 2
const GiB = 1024 ** 3
/** Each has the layers of the one before and one more. */
const IMAGES = [1, 4, 8]
/** The size at which time is compared, GiB. */
const TIMED = 4

const run = promisify(execFile)

interface Pushed {
  gateway: number
  command: number
  ms: number
}

/**
 * What a push into a container needs, and how long it takes beside what people type today.
 * @param world its gateway knows the engine
 */
export async function push(dir: string, world: World, docker: DockerEngine): Promise<Figure[]> {
  await docker.command('import', await makeBusyboxArchive(join(dir, 'node.tar')), 'bench-node')
  await docker.command('run', '--detach', '--name', 'node', '--network', 'none', 'bench-node', 'sleep', '100000')
  for (const gib of IMAGES) await makeImage(world, gib)
  const store: Pushed[] = []
  const engine: Pushed[] = []
  let theirs = 0
  for (const gib of IMAGES) {
    engine.push(await measured(world, `docker-daemon:bench-${gib}:1`))
    // Between the two that it is compared with.
    if (gib === TIMED) theirs = await saveAndCopy(join(dir, 'saved.tar'), docker)
    store.push(await measured(world, `bench-${gib}`))
  }
  await docker.command('rm', '--force', 'node')
  for (const gib of IMAGES) {
    await world.client.images.remove(`bench-${gib}`)
    await docker.command('image', 'rm', `bench-${gib}:1`)
  }
  const at = IMAGES.indexOf(TIMED)
  return [
    memory('the store', store),
    memory('an engine', engine),
    speed('the store', store[at] as Pushed, theirs),
    speed('an engine', engine[at] as Pushed, theirs),
  ]
}

async function makeImage(world: World, gib: number): Promise<void> {
  const sizes = IMAGES.slice(0, IMAGES.indexOf(gib) + 1).map((size, at) => size - (IMAGES[at - 1] ?? 0))
  const archive = bigDockerArchive({
    layers: sizes.length,
    layerBytes: sizes.map((size) => size * GiB),
    name: `bench-${gib}:1`,
    seeds: sizes.map((_, at) => `layer ${at}`),
  })
  await world.client.images.import(Readable.from(archive), { name: `bench-${gib}` })
  await world.client.images.push(`bench-${gib}`, `docker-daemon:bench-${gib}:1`)
}

/** A push by a gateway that has done nothing before, and by the command. */
async function measured(world: World, source: string): Promise<Pushed> {
  await world.gateway.stop()
  await world.gateway.start()
  await settle()
  let command = 0
  let ms = 0
  const grown = await growthOf({ gateway: world.gateway.pid }, async () => {
    const start = performance.now()
    const args = ['image', 'push', source, 'container:node', '--import', 'true {file}']
    const child = spawn(join(ROOT, 'bin/coppice'), args, {
      stdio: 'ignore',
      env: { ...process.env, COPPICE_HOME: world.gateway.home },
    })
    command = await peakUntilEnd(child)
    ms = performance.now() - start
  })
  return { gateway: grown.gateway, command, ms }
}

async function peakUntilEnd(child: ChildProcess): Promise<number> {
  const ended = once(child, 'close')
  let peak = 0
  for (; child.exitCode === null; await Promise.race([ended, delay(20)]))
    peak = Math.max(peak, peakBytes(child.pid ?? 0))
  if (child.exitCode !== 0) throw new Error(`the push ended with ${child.exitCode}`)
  return peak
}

async function saveAndCopy(file: string, docker: DockerEngine): Promise<number> {
  await settle()
  const start = performance.now()
  await docker.command('save', '--output', file, `bench-${TIMED}:1`)
  await docker.command('cp', file, 'node:/tmp/')
  const ms = performance.now() - start
  rmSync(file)
  await docker.command('exec', 'node', 'rm', '/tmp/saved.tar')
  return ms
}

/** What was written before is on the disk: nobody pays for another's work. */
async function settle(): Promise<void> {
  await run('sync')
}

function memory(from: string, pushed: Pushed[]): Figure {
  const grown = pushed.map(({ gateway }) => gateway)
  const command = Math.max(...pushed.map((one) => one.command))
  return {
    name: `memory of a push into a container from ${from}: ${IMAGES.join(', ')} GiB`,
    value: `${grown.map((bytes) => `+${mib(bytes)}`).join(', ')}; the command itself ${mib(command)} in all`,
    target: '≤ 48 MiB, and the same ± 8 MiB',
    met: Math.max(...grown) <= 48 * MiB && Math.max(...grown) - Math.min(...grown) <= 8 * MiB,
  }
}

function speed(from: string, { ms }: Pushed, theirs: number): Figure {
  return {
    name: `time of a push of ${TIMED} GiB into a container from ${from}`,
    value: `${(ms / 1000).toFixed(1)} s`,
    rival: `${(theirs / 1000).toFixed(1)} s by \`docker save\` and \`docker cp\`: ours takes ${(ms / theirs).toFixed(2)} of it`,
    target: '≤ 1.15 × `docker save IMG > file && docker cp file NAME:/`',
    met: ms <= 1.15 * theirs,
  }
}
