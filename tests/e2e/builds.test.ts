import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  chmodSync,
  createWriteStream,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PrivateDocker } from '@coppice/engines/testing'
import { makeBusyboxArchive, RegistryServer } from '@coppice/images/testing'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { CoppiceCommand, RunningCommand } from '../support/command.ts'
import { GatewayProcess, makeHome } from '../support/gateway-process.ts'
import { growthOf } from '../support/growth.ts'
import { hostProcesses } from '../support/host.ts'
import { openWorld, type World } from '../support/world.ts'

const MiB = 1024 * 1024

/** Folders with a Dockerfile, by a gateway beside a real Docker, whose BuildKit builds them. */
describe('a folder with a Dockerfile', { timeout: 180_000 }, () => {
  let docker: PrivateDocker | undefined
  let why = ''
  let world: World
  let coppice: CoppiceCommand
  let dir: string
  let before: string

  const said = async (...args: string[]) => (await (docker as PrivateDocker).run(...args)).output
  const images = () => said('images', '--all', '--quiet', '--no-trunc')

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'coppice-builds-'))
    const opened = await PrivateDocker.open()
    if ('unavailable' in opened) {
      why = opened.unavailable
      return
    }
    docker = opened
    await docker.run('import', await makeBusyboxArchive(join(dir, 'busybox.tar')), 'busybox:1')
    before = await images()
    world = await openWorld({}, { DOCKER_HOST: `unix://${docker.socket}`, DOCKER_CONFIG: join(docker.dir, 'config') })
    coppice = new CoppiceCommand(world.gateway.home)
  }, 120_000)
  afterAll(async () => {
    await world?.dispose()
    await docker?.close()
    rmSync(dir, { recursive: true, force: true })
  }, 60_000)
  /** Whatever a test did: the engine has no image and no container of it, and the gateway no file. */
  afterEach(async () => {
    if (!docker) return
    await expect.poll(images, { timeout: 20_000 }).toBe(before)
    expect(await said('ps', '--all', '--quiet')).toBe('')
    expect(readdirSync(join(world.gateway.home, 'scratch'))).toEqual([])
  })

  const needs = (context: { skip: (why: string) => never }): PrivateDocker => docker ?? context.skip(why)
  const folder = (files: Record<string, string>): string => {
    const made = mkdtempSync(join(dir, 'context-'))
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(made, name, '..'), { recursive: true })
      writeFileSync(join(made, name), text)
    }
    return made
  }
  /** Files below these folders that hold this. */
  const filesWith = async (text: string, folders: string[]): Promise<string[]> => {
    const found = new RunningCommand('grep', ['-rlF', '-D', 'skip', '-e', text, ...folders], process.env, '')
    return (await found.ended).stdout.split('\n').filter(Boolean)
  }
  const names = async () => (await world.client.images.list()).map(({ name }) => name)
  const shown = (command: RunningCommand, text: RegExp) =>
    world.until(() => text.test(command.stderr), String(text), 30_000)

  test('is built, is cached by its content, and runs', async (context) => {
    needs(context)
    const made = folder({
      Dockerfile:
        'FROM busybox:1\nCOPY greeting /greeting\nRUN --mount=type=cache,target=/c echo at work\nENV WHO=built\n',
      greeting: 'hello',
      '.dockerignore': 'secret',
      secret: 'x',
    })
    const first = await coppice.run(['create', '--from', made])
    expect(first).toMatchObject({ code: 0 })
    expect(first.stderr).toMatch(/^#\d+ \[.*2\/3\] COPY greeting/m)
    expect(first.stderr).toMatch(/^#\d+ \d+\.\d{3} at work$/m)
    const box = world.client.sandboxes.get(first.stdout.trim())
    expect((await box.exec('cat /greeting; echo " $WHO"')).stdout).toBe('hello built\n')
    await box.remove()
    const again = await coppice.run(['create', '--from', made])
    expect(again.stderr).not.toMatch(/COPY/)
    await world.client.sandboxes.remove(again.stdout.trim())
  })

  test('is built from the Dockerfile, the stage and the variables that were asked for', async (context) => {
    needs(context)
    const made = folder({ 'sub/My.Dockerfile': 'FROM busybox:1 AS a\nARG V\nENV V=$V\nFROM a AS b\nRUN exit 1\n' })
    const flags = ['--file', 'sub/My.Dockerfile', '--target', 'a', '--build-arg', 'V=given', '--name', 'asked']
    expect(await coppice.run(['image', 'build', made, ...flags, '--no-cache'])).toMatchObject({
      code: 0,
      stdout: 'asked\n',
    })
    const box = await world.create({ from: 'asked' })
    expect((await box.exec('echo $V')).stdout).toBe('given\n')
    await box.remove()
  })

  test('is built from a Dockerfile that is somewhere else, or comes by standard input', async (context) => {
    needs(context)
    const made = folder({
      'in/greeting': 'hello',
      'in/.dockerignore': 'secret',
      'in/secret': 'x',
      D: 'FROM busybox:1\nCOPY . /c\n',
    })
    const text = readFileSync(join(made, 'D'))
    const built = await coppice.run(['image', 'build', join(made, 'in'), '-f', join(made, 'D')])
    expect(built).toMatchObject({ code: 0 })
    const again = await coppice.run(['image', 'build', join(made, 'in'), '-f', '-'], text)
    expect(again).toMatchObject({ code: 0, stdout: built.stdout })
    expect(again.stderr).toContain('cached by content')
    const box = await world.create({ from: built.stdout.trim() })
    expect((await box.exec('cat /c/greeting; ls -A /c')).stdout).toBe('hello.dockerignore\ngreeting\n')
    await box.remove()
  })

  test('holds the same files for BuildKit as for the classic builder, whatever its patterns leave out', async (context) => {
    const engine = needs(context)
    const gateway = new GatewayProcess(makeHome(), { DOCKER_HOST: `unix://${engine.socket}`, DOCKER_BUILDKIT: '0' })
    const files = {
      'a/b': 'one',
      'a/deep/c': 'two',
      'a.b': 'three',
      large: 'x'.repeat(300_000),
      empty: '',
      run: '#!/bin/sh\n',
      [`${'long/'.repeat(30)}name`]: 'four',
    }
    const list =
      "(find . -type f -exec md5sum {} +; find . ! -type f; ls -ld a link run 2>/dev/null) | sort | sed 's/^/L: /'"
    const Dockerfile = `FROM busybox:1\nCOPY . /c\nWORKDIR /c\nRUN ${list}\n`
    const show = async (home: string, made: string): Promise<string[]> => {
      const built = await new CoppiceCommand(home).run(['image', 'build', made, '--name', 'listed', '--no-cache'])
      expect(built).toMatchObject({ code: 0 })
      return [...built.stderr.matchAll(/^(?:#\d+ [\d.]+ )?L: (.*)$/gm)].map(([, line = '']) => line)
    }
    const hiding = ['Dockerfile\n.dockerignore', 'Dockerfile', '*\n!a/b', '**']
    try {
      await gateway.start()
      for (const patterns of [...hiding, '.dockerignore', '**\n!Dockerfile\n!a', 'a/deep']) {
        const made = folder({ ...files, Dockerfile, '.dockerignore': patterns })
        chmodSync(join(made, 'run'), 0o751)
        symlinkSync('a/b', join(made, 'link'))
        linkSync(join(made, 'a/b'), join(made, 'same'))
        const shown = await show(world.gateway.home, made)
        expect(shown, patterns).toEqual(await show(gateway.home, made))
        expect(
          shown.some((line) => line.endsWith('./Dockerfile')),
          patterns,
        ).toBe(!hiding.includes(patterns))
      }
    } finally {
      await gateway.dispose()
      await engine.run('image', 'prune', '--force')
      await engine.run('builder', 'prune', '--all', '--force')
    }
  })

  test('that does not build says which step, its last lines and its status, and leaves nothing', async (context) => {
    needs(context)
    const made = folder({ Dockerfile: 'FROM busybox:1\nRUN echo one > /one\nRUN echo it breaks here && exit 9\n' })
    const failed = await coppice.run(['image', 'build', made, '--name', 'broken'])
    expect(failed.code).toBe(1)
    expect(failed.stderr).toMatch(/^#\d+ \d+\.\d{3} it breaks here$/m)
    expect(failed.stderr).toMatch(/The build failed at \[3\/3\] RUN echo it breaks here/)
    await expect(world.client.images.build(made, { name: 'broken' })).rejects.toMatchObject({
      reason: 'build_failed',
      facts: { step: expect.stringContaining('[3/3]'), status: 9, lastLines: ['it breaks here'] },
    })
    expect(await names()).not.toContain('broken')
  })

  test('of which nothing comes says so', async (context) => {
    needs(context)
    const made = folder({ Dockerfile: 'FROM scratch\nENV A=b\n' })
    const refused = { reason: 'build_empty', message: expect.stringContaining('holds no files') }
    await expect(world.client.images.build(made, { name: 'empty' })).rejects.toMatchObject(refused)
    expect(await names()).not.toContain('empty')
  })

  for (const [how, signal] of [
    ['Ctrl-C', 'SIGINT'],
    ['the death of who asked for it', 'SIGKILL'],
  ] as const) {
    test(`ends with ${how}, and so does what it was running`, async (context) => {
      needs(context)
      const word = `w${randomBytes(8).toString('hex')}`
      const made = folder({ Dockerfile: `FROM busybox:1\nRUN echo here; sleep 100000; : ${word}\n` })
      const running = () =>
        hostProcesses().filter(({ cmdline }) => cmdline.startsWith('/bin/sh') && cmdline.includes(word))
      const command = coppice.start(['image', 'build', made, '--name', 'ended'])
      await shown(command, /^#\d+ \d+\.\d{3} here$/m)
      expect(running()).not.toEqual([])
      command.child.kill(signal)
      await command.ended
      await expect.poll(running, { timeout: 20_000 }).toEqual([])
      expect(await names()).not.toContain('ended')
    })
  }

  test('may build on an image of a registry that asks who is asking', async (context) => {
    const engine = needs(context)
    const missing = await RegistryServer.missing()
    if (missing) context.skip(missing)
    const registry = await RegistryServer.start({ login: { username: 'me', password: 'my word' } })
    try {
      const name = `${registry.host}/team/base:1`
      await engine.run('tag', 'busybox:1', name)
      await engine.run('login', '--username', 'me', '--password', 'my word', registry.host)
      expect((await engine.run('push', name)).exitCode).toBe(0)
      await engine.run('rmi', '--no-prune', name)
      const made = folder({ Dockerfile: `FROM ${name}\nRUN echo on it > /file\n` })
      expect(await coppice.run(['image', 'build', made, '--name', 'on-private'])).toMatchObject({ code: 0 })
      await engine.run('logout', registry.host)
      await engine.run('builder', 'prune', '--all', '--force')
      const other = folder({ Dockerfile: `FROM ${name}\nRUN echo again > /file\n` })
      expect(await coppice.run(['image', 'build', other, '--name', 'refused'])).toMatchObject({ code: 1 })
      const log = readFileSync(join(world.gateway.home, 'logs', 'gateway.log'), 'utf8')
      expect(log).not.toMatch(new RegExp(`my word|${Buffer.from('me:my word').toString('base64')}`))
    } finally {
      await registry.stop()
    }
  })

  test('may be given secrets, of which nothing stays: not in the image, the gateway’s home or log, nor in the engine', async (context) => {
    const engine = needs(context)
    const [file, variable] = [randomBytes(24).toString('hex'), randomBytes(24).toString('hex')]
    const secret = join(dir, 'secret')
    writeFileSync(secret, file)
    const made = folder({
      Dockerfile: `FROM busybox:1
        RUN --mount=type=secret,id=file cut -c -8 /run/secrets/file > /begins
        RUN --mount=type=secret,id=variable,target=/v cut -c -8 /v >> /begins; ls /run/secrets >> /begins; true`,
    })
    const flags = ['--name', 'with-secrets', '--secret', `id=file,src=${secret}`, '--secret', 'id=variable,env=WORD']
    const asking = new CoppiceCommand(world.gateway.home)
    asking.env.WORD = variable
    const built = await asking.run(['image', 'build', made, ...flags])
    expect(built).toMatchObject({ code: 0, stdout: 'with-secrets\n' })
    const box = await world.create({ from: 'with-secrets' })
    expect((await box.exec('cat /begins')).stdout).toBe(`${file.slice(0, 8)}\n${variable.slice(0, 8)}\n`)
    rmSync(secret)
    // Running it has unpacked its layers there too.
    const looked = [world.gateway.home, join(engine.dir, 'data')]
    for (const word of [file, variable]) {
      expect(await filesWith(word, looked)).toEqual([])
      expect(built.stderr).not.toContain(word)
    }
    // What is looked for that way is found where it is.
    expect(await filesWith(file.slice(0, 8), looked)).not.toEqual([])
    await box.remove()
  })

  test('leaves its name in the engine when the gateway is killed, and the next one of this home removes that alone', async (context) => {
    const engine = needs(context)
    const gateway = new GatewayProcess(makeHome(), { DOCKER_HOST: `unix://${engine.socket}` })
    const others = ['coppice-build:00000000-11111111-2222222222222222', 'coppice-build:mine']
    const left = async () => (await said('images', 'coppice-build', '--format', '{{.Tag}}')).split('\n').filter(Boolean)
    try {
      await gateway.start()
      for (const name of others) await engine.run('tag', 'busybox:1', name)
      const made = folder({ Dockerfile: 'FROM busybox:1\nCOPY big /big\n' })
      writeFileSync(join(made, 'big'), randomBytes(64 * MiB))
      const building = new CoppiceCommand(gateway.home).start(['image', 'build', made, '--name', 'cut'])
      // From its name on the engine has done, and the gateway takes it out.
      await expect.poll(left, { timeout: 60_000, interval: 20 }).toHaveLength(3)
      await gateway.kill()
      expect((await building.ended).code).not.toBe(0)
      expect(await left()).toHaveLength(3)
      await gateway.start()
      await expect.poll(left, { timeout: 20_000 }).toEqual(others.map((name) => name.split(':')[1]))
      await expect.poll(() => readdirSync(join(gateway.home, 'scratch'))).toEqual([])
    } finally {
      await gateway.dispose()
      for (const name of others) await engine.run('rmi', '--no-prune', name)
    }
  })

  test('of 1 GiB is sent with the gateway’s memory flat', async (context) => {
    needs(context)
    const made = folder({ Dockerfile: 'FROM busybox:1\nRUN echo built\n' })
    const big = createWriteStream(join(made, 'big'))
    const random = randomBytes(MiB)
    for (let at = 0; at < 1024; at++) if (!big.write(random)) await once(big, 'drain')
    big.end()
    await once(big, 'close')
    // What the thread of the store takes is there before: see docs/images.md.
    const small = folder({ Dockerfile: 'FROM busybox:1\nRUN echo warm\n' })
    expect(await coppice.run(['image', 'build', small, '--name', 'warm'])).toMatchObject({ code: 0 })
    const grown = await growthOf({ gateway: world.gateway.pid }, async () => {
      expect(await coppice.run(['image', 'build', made, '--name', 'big'])).toMatchObject({ code: 0 })
    })
    expect(grown.gateway).toBeLessThanOrEqual(64 * MiB)
    rmSync(made, { recursive: true })
    await said('builder', 'prune', '--all', '--force')
  })

  test('may build on such an image by the classic builder too, which is told of its registry alone', async (context) => {
    const engine = needs(context)
    const missing = await RegistryServer.missing()
    if (missing) context.skip(missing)
    const registry = await RegistryServer.start({ login: { username: 'me', password: 'my word' } })
    const config = join(dir, 'classic-config')
    const env = { DOCKER_HOST: `unix://${engine.socket}`, DOCKER_BUILDKIT: '0', DOCKER_CONFIG: config }
    const gateway = new GatewayProcess(makeHome(), env)
    try {
      const name = `${registry.host}/team/base:1`
      await engine.run('tag', 'busybox:1', name)
      await engine.run('login', '--username', 'me', '--password', 'my word', registry.host)
      expect((await engine.run('push', name)).exitCode).toBe(0)
      await engine.run('logout', registry.host)
      await engine.run('rmi', '--no-prune', name)
      mkdirSync(config)
      const auths = { [registry.host]: { auth: Buffer.from('me:my word').toString('base64') } }
      writeFileSync(join(config, 'config.json'), JSON.stringify({ auths }))
      await gateway.start()
      const made = folder({ Dockerfile: 'ARG HOST\nFROM $HOST/team/base:1\nENV ON=it\n' })
      const asked = ['image', 'build', made, '--name', 'on-private', '--build-arg', `HOST=${registry.host}`]
      const built = await new CoppiceCommand(gateway.home).run(asked)
      expect(built).toMatchObject({ code: 0, stdout: 'on-private\n' })
      expect(`${gateway.log()}${built.stderr}`).not.toMatch(/my word|bXk6bXkgd29yZA/)
      const refused = await new CoppiceCommand(gateway.home).run([...asked, '--secret', 'id=HOME', '--no-cache'])
      expect(refused).toMatchObject({ code: 125, stderr: expect.stringContaining('unsupported/build_secrets') })
      await engine.run('rmi', '--no-prune', name)
      await engine.run('image', 'prune', '--force')
    } finally {
      await gateway.dispose()
      await registry.stop()
    }
  })

  test('is built by the classic builder when the gateway’s environment says so', async (context) => {
    const engine = needs(context)
    const env = { DOCKER_HOST: `unix://${engine.socket}`, DOCKER_BUILDKIT: '0' }
    const gateway = new GatewayProcess(makeHome(), env)
    await gateway.start()
    try {
      const made = folder({ Dockerfile: 'FROM busybox:1\nRUN echo at work; exit 9\n' })
      const failed = await new CoppiceCommand(gateway.home).run(['image', 'build', made])
      expect(failed.code).toBe(1)
      expect(failed.stderr).toMatch(/classic builder, not with BuildKit: so it was asked for/)
      expect(failed.stderr).toMatch(/The build failed at Step 2\/2 : RUN echo at work/)
    } finally {
      await gateway.stop()
      await gateway.dispose()
    }
  })
})
