import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PrivateDocker } from '@coppice/engines/testing'
import { makeBusyboxArchive } from '@coppice/images/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CoppiceCommand } from '../support/command.ts'
import { openWorld, type World } from '../support/world.ts'

/** A gateway beside a real Docker: sandboxes in it, images from it, to it and into its containers, builds by it. */
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

  describe('an image goes into a container', () => {
    beforeAll(async () => {
      await docker?.run('run', '--detach', '--name', 'node', '--network', 'none', 'busybox:1', 'sleep', '10000')
    })

    test('and is imported there by its command, which leaves nothing behind', async (context) => {
      engine(context)
      const result = await coppice.run([
        'image',
        'push',
        'busybox',
        'container:node',
        '--import',
        'tar -tf {file} > /imported',
      ])
      expect(result).toMatchObject({ code: 0 })
      expect(await said('exec', 'node', 'cat', '/imported')).toContain('manifest.json')
      expect(await said('exec', 'node', 'ls', '/tmp')).toBe('')
    })

    test('from the engine, through one scratch file that is gone after it', async (context) => {
      engine(context)
      const result = await coppice.run(['image', 'push', 'docker-daemon:busybox:1', 'container:node:/tmp', '--json'])
      expect(result).toMatchObject({ code: 0 })
      const [file] = (await said('exec', 'node', 'ls', '/tmp')).trim().split('\n')
      const saved = execFileSync('sh', ['-c', `docker -H unix://${docker?.socket} save busybox:1 | sha256sum`])
        .toString()
        .slice(0, 64)
      expect((await said('exec', 'node', 'sha256sum', `/tmp/${file}`)).slice(0, 64)).toBe(saved)
      expect(readdirSync(join(world.gateway.home, 'scratch'))).toEqual([])
    })

    test('and a failing import says how it ended', async (context) => {
      engine(context)
      const result = await coppice.run([
        'image',
        'push',
        'busybox',
        'container:node',
        '--import',
        'echo no room for {file} >&2; exit 7',
      ])
      expect(result.code).not.toBe(0)
      expect(result.stderr).toMatch(/ended with 7.*no room/s)
    })

    test('and one that is not there is named', async (context) => {
      engine(context)
      expect((await coppice.run(['image', 'push', 'busybox', 'container:nobody'])).stderr).toContain('nobody')
    })
  })

  describe('a folder with a Dockerfile', () => {
    const folder = (files: Record<string, string>): string => {
      const made = mkdtempSync(join(dir, 'context-'))
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(join(made, name, '..'), { recursive: true })
        writeFileSync(join(made, name), text)
      }
      return made
    }

    test('is built, is cached by its content, and runs', async (context) => {
      engine(context)
      const made = folder({
        Dockerfile: 'FROM busybox:1\nCOPY greeting /greeting\nENV WHO=built\n',
        greeting: 'hello',
        '.dockerignore': 'secret',
        secret: 'x',
      })
      const first = await coppice.run(['create', '--from', made])
      expect(first).toMatchObject({ code: 0 })
      expect(first.stderr).toMatch(/Step 2\/3/i)
      const box = world.client.sandboxes.get(first.stdout.trim())
      expect((await box.exec('cat /greeting; echo " $WHO"')).stdout).toBe('hello built\n')
      await box.remove()
      const again = await coppice.run(['create', '--from', made])
      expect(again.stderr).not.toMatch(/Step/i)
      await world.client.sandboxes.remove(again.stdout.trim())
    })

    test('that does not build says which step, its last lines and its status, and leaves nothing', async (context) => {
      engine(context)
      const before = (await said('images', '--all', '--quiet')).split('\n').sort()
      const made = folder({ Dockerfile: 'FROM busybox:1\nRUN echo one > /one\nRUN echo it breaks here && exit 9\n' })
      const failed = await coppice.run(['image', 'build', made, '--name', 'broken'])
      expect(failed.code).not.toBe(0)
      expect(failed.stderr).toMatch(/it breaks here/)
      expect(failed.stderr).toMatch(/Step 3\/3/i)
      expect((await said('images', '--all', '--quiet')).split('\n').sort()).toEqual(before)
      expect(await said('ps', '--all', '--quiet', '--filter', 'status=exited')).toBe('')
      expect((await world.client.images.list()).map(({ name }) => name)).not.toContain('broken')
    })
  })

  test('2 GiB that nothing compresses go into a container with the gateway’s memory flat', {
    timeout: 400_000,
  }, async (context) => {
    engine(context)
    const { growthOf } = await import('../support/growth.ts')
    const made = mkdtempSync(join(dir, 'big-'))
    mkdirSync(join(made, 'rootfs'))
    execFileSync(
      'sh',
      [
        '-c',
        'openssl enc -aes-128-ctr -pass pass:x -nosalt </dev/zero 2>/dev/null | head -c 2147483648 > rootfs/big && tar -C rootfs -cf big.tar . && rm -r rootfs',
      ],
      { cwd: made },
    )
    await world.client.images.import(createReadStream(join(made, 'big.tar'), { highWaterMark: 1 << 20 }), {
      name: 'big',
    })
    rmSync(made, { recursive: true })
    await docker?.run('run', '--detach', '--name', 'target', '--network', 'none', 'busybox:1', 'sleep', '10000')
    let sum = ''
    const grown = await growthOf({ gateway: world.gateway.pid }, async () => {
      const result = await coppice.run([
        'image',
        'push',
        'big',
        'container:target',
        '--import',
        'sha256sum {file} | cut -c1-64',
        '--json',
      ])
      expect(result).toMatchObject({ code: 0 })
      sum = result.stdout
    })
    expect(grown.gateway).toBeLessThanOrEqual(64 * 1024 ** 2)
    const hash = createHash('sha256')
    for await (const chunk of await world.client.images.export('big', { format: 'docker-archive' }))
      hash.update(chunk as Buffer)
    expect(sum).toContain(hash.digest('hex'))
    await world.client.images.remove('big')
  })
})
