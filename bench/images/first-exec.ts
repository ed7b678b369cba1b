import { join } from 'node:path'
import { makeBusyboxArchive } from '@coppice/images/testing'
import type { Sandbox } from '@coppice/sdk'
import type { World } from '../../tests/support/world.ts'
import type { DockerEngine } from '../docker.ts'
import { type Figure, ms, quantile, time } from '../figures.ts'

const ROUNDS = 20
const WARM = 3

/**
 * How long a sandbox of the driver `docker` takes to its first result, beside the same by Docker's own command. Both take turns.
 * @param world its gateway knows the engine
 */
export async function firstExec(dir: string, world: World, docker: DockerEngine): Promise<Figure[]> {
  await docker.command('import', await makeBusyboxArchive(join(dir, 'first.tar')), 'bench-first')
  const own: number[] = []
  const theirs: number[] = []
  for (let round = -WARM; round < ROUNDS; round += 1) {
    let made: Sandbox | undefined
    const sandbox = await time(1, 0, async () => {
      made = await world.create({ driver: 'docker' })
      await made.exec(['true'])
    })
    await made?.remove()
    let container = ''
    const command = await time(1, 0, async () => {
      container = await docker.command('run', '--detach', '--network', 'none', 'bench-first', 'sleep', '100000')
      await docker.command('exec', container, 'true')
    })
    await docker.command('rm', '--force', container)
    if (round < 0) continue
    own.push(...sandbox)
    theirs.push(...command)
  }
  await docker.command('image', 'rm', 'bench-first')
  const [mine, rival] = [quantile(own, 0.5), quantile(theirs, 0.5)]
  return [
    {
      name: 'driver docker, create → first exec result',
      value: `${ms(mine)} p50, ${ms(quantile(own, 0.95))} p95`,
      rival: `${ms(rival)} p50: ours takes ${(mine / rival).toFixed(2)} of it`,
      target: '≤ 1.1 × `docker run -d` + `docker exec` by CLI',
      met: mine <= 1.1 * rival,
    },
  ]
}
