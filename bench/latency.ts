import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { makeBusyboxArchive } from '@coppice/images/testing'
import { ROOT } from '../tests/support/gateway-process.ts'
import type { World } from '../tests/support/world.ts'
import type { DockerEngine } from './docker.ts'
import { type Figure, ms, quantile, time } from './figures.ts'

const run = promisify(execFile)

/** How long people wait: for a command, for a sandbox. */
export async function latency(world: World, docker: DockerEngine | undefined): Promise<Figure[]> {
  const figures: Figure[] = []
  const sandbox = await world.create()
  const env = { ...process.env, COPPICE_HOME: world.gateway.home }
  let container = ''
  if (docker) {
    await docker.command('import', await makeBusyboxArchive(join(world.gateway.home, 'bench.tar')), 'bench')
    container = await docker.command('run', '--detach', '--network', 'none', 'bench', 'sleep', '100000')
  }
  const compare = (name: string, own: number[], rival: number[] | undefined, share: number, words: string): Figure => {
    const mine = quantile(own, 0.5)
    const theirs = rival ? quantile(rival, 0.5) : Number.NaN
    const figure: Figure = {
      name,
      value: `${ms(mine)} p50, ${ms(quantile(own, 0.95))} p95`,
      target: words,
      met: rival === undefined || mine <= theirs * share,
    }
    if (rival) figure.rival = `${ms(theirs)} p50: ${(theirs / mine).toFixed(1)} times ours`
    return figure
  }

  const dockerExec = docker && (await time(30, 3, () => docker.command('exec', container, 'true')))
  const sdkExec = await time(300, 30, () => sandbox.exec(['true']))
  figures.push(compare("SDK `exec(['true'])`", sdkExec, dockerExec, 1 / 12, '≤ 1/12 of `docker exec C true`'))

  const cli = join(ROOT, 'bin/coppice')
  const cliExec = await time(30, 3, () => run(cli, ['exec', sandbox.id, '--', 'true'], { env }))
  figures.push(compare('CLI `coppice exec S -- true`', cliExec, dockerExec, 1, '≤ `docker exec C true`'))

  const dockerRun =
    docker && (await time(15, 2, () => docker.command('run', '--rm', '--network', 'none', 'bench', 'true')))
  const created: string[] = []
  const create = await time(20, 2, async () => {
    const fresh = await world.create()
    created.push(fresh.id)
    await fresh.exec(['true'])
  })
  await Promise.all(created.map((id) => world.client.sandboxes.remove(id)))
  figures.push(compare('create → first exec result', create, dockerRun, 1 / 2, '≤ 1/2 of `docker run --rm IMG true`'))

  const parallel = await time(5, 1, () => Promise.all(Array.from({ length: 100 }, () => sandbox.exec(['true']))))
  const perSecond = 100 / (quantile(parallel, 0.5) / 1000)
  figures.push({
    name: '100 parallel execs in one sandbox',
    value: `${perSecond.toFixed(0)}/s`,
    target: '≥ 150/s',
    met: perSecond >= 150,
  })

  if (docker) await docker.command('rm', '--force', container)
  await sandbox.remove()
  return figures
}
