import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs'
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
    const other = await coppice.run(['image', 'pull', 'docker-daemon:busybox:1', '--platform', 'linux/s390x'])
    expect(other).toMatchObject({ code: 125, stderr: expect.stringContaining('no_image_for_platform') })
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

  test('a stopped sandbox whose container somebody removes is told to have nothing left', async (context) => {
    engine(context)
    const box = await world.create({ driver: 'docker' })
    await box.stop()
    await said('rm', ...(await said('ps', '--all', '--quiet')).trim().split('\n'))
    await expect
      .poll(async () => (await box.inspect()).drift)
      .toEqual(['It is recorded as stopped, the driver says gone.'])
    await expect(box.start()).rejects.toMatchObject({ reason: 'files_gone', hint: `coppice rm ${box.id}` })
    await box.remove()
  })

  test('what was cut off while it was away is taken back when it is here again', async (context) => {
    const { socket } = engine(context)
    const folder = join(world.gateway.home, 'drivers/docker')
    const gone = await world.create({ driver: 'docker' })
    const begun = () => readdirSync(folder).some((id) => id !== gone.id && existsSync(join(folder, id, 'asked')))
    // Not by the client, which would ask the next gateway again.
    const { url, token } = world.gateway
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const body = JSON.stringify({ from: 'busybox', driver: 'docker' })
    const cut = fetch(`${url}/v1/sandboxes`, { method: 'POST', headers, body }).catch((error: unknown) => error)
    await world.until(begun, 'a container to be asked for', 30_000)
    docker?.freeze()
    await world.gateway.kill()
    await cut
    await world.gateway.start()
    await expect(gone.remove()).rejects.toMatchObject({ code: 'unavailable', reason: 'engine_silent' })
    await expect(world.create({ driver: 'docker' })).rejects.toMatchObject({ code: 'unavailable' })
    // The call to which nobody listens any more is answered: a container may come of it now.
    docker?.thaw()
    await world.until(async () => (await world.client.sandboxes.list()).length === 0, 'all of them to go', 60_000)
    expect(await said('ps', '--all', '--quiet')).toBe('')
    // It is away before the first word.
    const away = `${socket}.away`
    renameSync(socket, away)
    mkdirSync(socket)
    try {
      await expect(world.create({ driver: 'docker' })).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining('a folder is there and no socket'),
      })
      expect(await world.client.sandboxes.list()).toEqual([])
    } finally {
      rmSync(socket, { recursive: true })
      renameSync(away, socket)
    }
  })
})
