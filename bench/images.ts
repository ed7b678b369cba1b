import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ImageStore } from '@coppice/images'
import { RegistryServer, writeBigDockerArchive } from '@coppice/images/testing'
import { Progress } from '@coppice/protocol'
import { ROOT } from '../tests/support/gateway-process.ts'
import { residentBytes } from '../tests/support/host.ts'
import type { World } from '../tests/support/world.ts'
import type { DockerEngine } from './docker.ts'
import { type Figure, mib, ms, quantile, rate, time } from './figures.ts'

const MiB = 1024 ** 2
const GiB = 1024 ** 3
const none = Progress.none()

/** How fast images move, how little of them moves twice, and what everybody else notices of it. */
export async function images(world: World, docker: DockerEngine | undefined): Promise<Figure[]> {
  const dir = mkdtempSync(join(tmpdir(), 'coppice-bench-images-'))
  try {
    return [
      ...(await importSpeed(dir, docker)),
      ...(await importMemory(dir)),
      ...(await secondTransfer(dir)),
      ...(await execDuringImport(dir, world)),
    ]
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function importSpeed(dir: string, docker: DockerEngine | undefined): Promise<Figure[]> {
  const archive = join(dir, 'speed.tar')
  writeBigDockerArchive(archive, { layers: 4, layerBytes: GiB / 2, name: 'bench-speed:1' })
  const [theirs] = docker ? await time(1, 0, () => docker.command('load', '--input', archive)) : []
  await docker?.command('image', 'rm', '--force', 'bench-speed:1')
  const store = await ImageStore.open(join(dir, 'speed'))
  const [own = Number.NaN] = await time(1, 0, () => store.import(archive, {}, none))
  rmSync(join(dir, 'speed'), { recursive: true })
  rmSync(archive)
  const figure: Figure = {
    name: 'import of a 2 GiB docker archive',
    value: rate(2 * GiB, own),
    target: '≥ 0.8 × `docker load` into an empty engine',
    met: theirs === undefined || own <= theirs / 0.8,
  }
  if (theirs !== undefined)
    figure.rival = `${rate(2 * GiB, theirs)}: ours is ${(theirs / own).toFixed(1)} times as fast`
  return [figure]
}

/** In processes of their own, of which nothing but the import is measured. */
async function importMemory(dir: string): Promise<Figure[]> {
  const grown: number[] = []
  for (const gib of [1, 4]) {
    const archive = join(dir, 'memory.tar')
    writeBigDockerArchive(archive, { layers: 4, layerBytes: (gib * GiB) / 4, name: 'bench-memory:1' })
    const script = join(ROOT, 'packages/images/src/testing/import-once.ts')
    const child = spawn(process.execPath, [script, join(dir, 'memory'), archive], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    grown.push(await growthAfterStart(child))
    rmSync(join(dir, 'memory'), { recursive: true })
    rmSync(archive)
  }
  const [small = Number.NaN, large = Number.NaN] = grown
  return [
    {
      name: 'memory during an import of 1 GiB and of 4 GiB',
      value: `+${mib(small)}, +${mib(large)}`,
      target: '≤ 48 MiB, and the same ± 8 MiB',
      met: Math.max(small, large) <= 48 * MiB && Math.abs(large - small) <= 8 * MiB,
    },
  ]
}

/** Its first line says what it had before. */
async function growthAfterStart(child: ChildProcess): Promise<number> {
  let said = ''
  let peak = 0
  child.stdout?.on('data', (chunk: Buffer) => {
    said += chunk
    peak = Math.max(peak, residentBytes(child.pid ?? 0))
  })
  await once(child, 'close')
  return peak - Number(said.split('\n')[0])
}

async function secondTransfer(dir: string): Promise<Figure[]> {
  const layerBytes = [256 * MiB, 256 * MiB, 4 * MiB]
  const write = (name: string, seeds: string[]) => {
    const file = join(dir, `${name}.tar`)
    writeBigDockerArchive(file, { layers: 3, layerBytes, name: `bench-${name}:1`, seeds })
    return file
  }
  const [one, two] = [write('one', ['a', 'b', 'c']), write('two', ['a', 'b', 'd'])]
  const store = await ImageStore.open(join(dir, 'second'))
  const limit = 4 * MiB * 1.01
  const figures: Figure[] = []
  const figure = (name: string, bytes: number) =>
    figures.push({ name, value: mib(bytes), target: '≤ the layer of 4 MiB + 1 %', met: bytes <= limit })
  await store.import(one, { name: 'one' }, none)
  figure(
    'bytes of a second import, one layer changed',
    (await store.import(two, { name: 'two' }, none)).transferred.bytes,
  )
  if ((await RegistryServer.missing()) === undefined) {
    const registry = await RegistryServer.start()
    try {
      await store.push('one', `${registry.host}/app:1`, {}, none)
      const pushed = await store.push('two', `${registry.host}/app:2`, {}, none)
      figure('bytes of a second push to a registry', pushed.uploadedBytes)
      const other = await ImageStore.open(join(dir, 'other'))
      await other.import(`${registry.host}/app:1`, {}, none)
      const pulled = await other.import(`${registry.host}/app:2`, {}, none)
      figure('bytes of a second import from a registry', pulled.transferred.bytes)
    } finally {
      await registry.stop()
    }
  }
  for (const name of ['one.tar', 'two.tar', 'second', 'other'])
    rmSync(join(dir, name), { recursive: true, force: true })
  return figures
}

async function execDuringImport(dir: string, world: World): Promise<Figure[]> {
  const archive = join(dir, 'exec.tar')
  writeBigDockerArchive(archive, { layers: 4, layerBytes: GiB, name: 'bench-exec:1' })
  const sandbox = await world.create()
  const idle = await time(500, 50, () => sandbox.exec(['true']))
  // From another process: what this one would spend on sending the archive is not the gateway's.
  const child = spawn(join(ROOT, 'bin/coppice'), ['image', 'import', archive, '--name', 'bench-exec'], {
    stdio: 'ignore',
    env: { ...process.env, COPPICE_HOME: world.gateway.home },
  })
  const ended = once(child, 'close')
  const busy: number[] = []
  while (child.exitCode === null) busy.push(...(await time(1, 0, () => sandbox.exec(['true']))))
  const [code] = await ended
  if (code !== 0) throw new Error(`the import ended with ${code}`)
  await sandbox.remove()
  await world.client.images.remove('bench-exec')
  rmSync(archive)
  const [before, during] = [quantile(idle, 0.99), quantile(busy, 0.99)]
  return [
    {
      name: 'SDK exec p99 while a 4 GiB image is imported',
      value: `${ms(during)} (p50 ${ms(quantile(busy, 0.5))}, ${busy.length} execs)`,
      rival: `${ms(before)} idle (p50 ${ms(quantile(idle, 0.5))})`,
      target: '≤ 3 × idle',
      met: during <= 3 * before,
    },
  ]
}
