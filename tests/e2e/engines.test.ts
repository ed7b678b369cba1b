import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PrivateDocker } from '@coppice/engines/testing'
import { makeBusyboxArchive } from '@coppice/images/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CoppiceCommand } from '../support/command.ts'
import { openWorld, type World } from '../support/world.ts'

/** A gateway beside a real Docker: sandboxes in it, images from it and to it. Into its containers: `pushes`. */
describe('with Docker', { timeout: 180_000 }, () => {
  let docker: PrivateDocker | undefined
  let why = ''
  let world: World
  let coppice: CoppiceCommand
  let dir: string

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'coppice-engines-'))
    const opened = await PrivateDocker.open()
    if ('unavailable' in opened) {
      why = opened.unavailable
      return
    }
    docker = opened
    world = await openWorld({}, { DOCKER_HOST: `unix://${docker.socket}` })
    coppice = new CoppiceCommand(world.gateway.home)
    await docker.run('import', await makeBusyboxArchive(join(dir, 'busybox.tar')), 'busybox:1')
  }, 120_000)
  afterAll(async () => {
    await world?.dispose()
    await docker?.close()
    rmSync(dir, { recursive: true, force: true })
  }, 60_000)

  const engine = (context: { skip: (why: string) => never }): PrivateDocker => docker ?? context.skip(why)
  const said = async (...args: string[]) => (await (docker as PrivateDocker).run(...args)).output

  test('a sandbox runs in it, reached and reaching through its session like any other', async (context) => {
    engine(context)
    const box = await world.create({ driver: 'docker' })
    expect(await box.exec('id -u; hostname; exit 3')).toMatchObject({
      stdout: expect.stringMatching(/^0\n/),
      exitCode: 3,
    })
    expect((await box.exec('ip -o link | wc -l')).stdout.trim()).toBe('1')
    expect(await box.network.get()).toMatchObject({ transparent: true })
    await box.files.write('/root/kept', 'through stop and start')
    await box.stop()
    await box.start()
    expect(await box.files.readText('/root/kept')).toBe('through stop and start')
    await box.remove()
    expect(await said('ps', '--all', '--quiet')).toBe('')
  })

  test('an image comes from it, once', async (context) => {
    engine(context)
    const first = await coppice.run(['image', 'pull', 'docker-daemon:busybox:1', '--name', 'from-docker'])
    expect(first).toMatchObject({ code: 0 })
    const box = await world.create({ from: 'from-docker' })
    expect((await box.exec(['true'])).exitCode).toBe(0)
    await box.remove()
  })

  test('an image goes to it: only layers that it lacks', async (context) => {
    engine(context)
    expect(await coppice.run(['image', 'push', 'busybox', 'docker-daemon:coppice-test/busybox:2'])).toMatchObject({
      code: 0,
    })
    expect(await said('images', '--quiet', 'coppice-test/busybox:2')).not.toBe('')
  })
})
