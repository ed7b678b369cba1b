import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { ImageStore } from '@coppice/images'
import { writeBigDockerArchive } from '@coppice/images/testing'
import { Progress } from '@coppice/protocol'
import { ROOT } from '../../tests/support/gateway-process.ts'
import { residentBytes } from '../../tests/support/host.ts'
import type { DockerEngine } from '../docker.ts'
import { type Figure, mib, rate, time } from '../figures.ts'

const MiB = 1024 ** 2
const GiB = 1024 ** 3

/** Of an archive, into an empty store and an empty engine. */
export async function importSpeed(dir: string, docker: DockerEngine | undefined): Promise<Figure[]> {
  const archive = join(dir, 'speed.tar')
  writeBigDockerArchive(archive, { layers: 4, layerBytes: GiB / 2, name: 'bench-speed:1' })
  const [theirs] = docker ? await time(1, 0, () => docker.command('load', '--input', archive)) : []
  await docker?.command('image', 'rm', '--force', 'bench-speed:1')
  const store = await ImageStore.open(join(dir, 'speed'))
  const [own = Number.NaN] = await time(1, 0, () => store.import(archive, {}, Progress.none()))
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
export async function importMemory(dir: string): Promise<Figure[]> {
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
