import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { writeBigDockerArchive } from '@coppice/images/testing'
import { ROOT } from '../../tests/support/gateway-process.ts'
import type { World } from '../../tests/support/world.ts'
import { type Figure, ms, quantile, time } from '../figures.ts'

const GiB = 1024 ** 3
/** Idle and busy take turns, so that what else the machine does meets both. */
const ROUNDS = 2
const IDLE_EXECS = 400

/** What those who run commands notice of an import. */
export async function execDuringImport(dir: string, world: World): Promise<Figure[]> {
  const archive = join(dir, 'exec.tar')
  writeBigDockerArchive(archive, { layers: 4, layerBytes: GiB, name: 'bench-exec:1' })
  const sandbox = await world.create()
  const exec = () => sandbox.exec(['true'])
  const idle: number[] = []
  const busy: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    idle.push(...(await time(IDLE_EXECS, 40, exec)))
    const importing = startImport(archive, world)
    while (importing.running()) busy.push(...(await time(1, 0, exec)))
    await importing.ended
    await world.client.images.remove('bench-exec')
  }
  await sandbox.remove()
  rmSync(archive)
  const [before, during] = [quantile(idle, 0.99), quantile(busy, 0.99)]
  return [
    {
      name: 'SDK exec p99 while a 4 GiB image is imported',
      value: `${ms(during)} (p50 ${ms(quantile(busy, 0.5))}, ${busy.length} execs)`,
      rival: `${ms(before)} idle (p50 ${ms(quantile(idle, 0.5))}, ${idle.length} execs)`,
      target: '≤ 3 × idle',
      met: during <= 3 * before,
    },
  ]
}

/** From another process: what this one would spend on sending the archive is not the gateway's. */
function startImport(archive: string, world: World): { running: () => boolean; ended: Promise<void> } {
  const child = spawn(join(ROOT, 'bin/coppice'), ['image', 'import', archive, '--name', 'bench-exec'], {
    stdio: 'ignore',
    env: { ...process.env, COPPICE_HOME: world.gateway.home },
  })
  const ended = once(child, 'close').then(([code]) => {
    if (code !== 0) throw new Error(`the import ended with ${code}`)
  })
  return { running: () => child.exitCode === null, ended }
}
