import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { PrivateDocker } from '@coppice/engines/testing'
import { Progress } from '@coppice/protocol/wire'
import { Coppice, Image, Sandbox } from '@coppice/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { CoppiceCommand } from '../support/command.ts'
import { openWorld, type World } from '../support/world.ts'

const none = Progress.none()

/** What sandboxes hold, saved and made into sandboxes again: with a real Docker, and without an engine. */
describe('checkpoints', { timeout: 180_000 }, () => {
  let docker: PrivateDocker | undefined
  let why = ''
  let world: World
  let coppice: CoppiceCommand

  beforeAll(async () => {
    const opened = await PrivateDocker.open()
    if ('unavailable' in opened) {
      why = opened.unavailable
      return
    }
    docker = opened
    world = await openWorld({ allowProcessDriver: true }, { DOCKER_HOST: `unix://${docker.socket}` })
    coppice = new CoppiceCommand(world.gateway.home)
  }, 120_000)
  afterEach(async () => {
    for (const { id } of (await world?.client.checkpoints.list()) ?? []) await world.client.checkpoints.remove(id)
    for (const { id } of (await world?.client.sandboxes.list()) ?? []) await world.client.sandboxes.remove(id)
    await world?.client.images.prune()
  })
  afterAll(async () => {
    await world?.dispose()
    await docker?.close()
  }, 60_000)

  /** A sandbox in which something was changed. */
  const changed = async (context: { skip: (why: string) => never }, driver = 'docker'): Promise<Sandbox> => {
    if (!docker) return context.skip(why)
    const box = await world.create({ driver })
    await box.exec('echo kept > /root/kept; mkdir /gone; chmod 700 /root; rm /bin/tail')
    return box
  }
  /** What a save has left in Docker and in the store. */
  const left = async (): Promise<string[]> => {
    const engine = await (docker as PrivateDocker).connect()
    const images = (await engine.images.list([], none)).flatMap(({ RepoTags }) => RepoTags ?? [])
    const containers = await engine.containers.list([], none)
    const scratch = readdirSync(join(world.gateway.home, 'store/tmp'), { recursive: true, withFileTypes: true })
    return [
      ...images.filter((name) => name.includes(':saved-')),
      ...containers.filter(({ State }) => State === 'paused').map(({ Id }) => `${Id} is paused`),
      ...scratch.filter((entry) => entry.isFile()).map(({ name }) => name),
    ]
  }
  const blobs = () => readdirSync(join(world.gateway.home, 'store/blobs/sha256')).length
  const check = async (box: Sandbox): Promise<void> => {
    const { stdout } = await box.exec('cat /root/kept; stat -c %a /root; ls -d /gone; ls /bin/tail 2>&1')
    expect(stdout).toMatch(/^kept\n700\n\/gone\nls: \/bin\/tail: No such/)
  }

  test.for(['docker', 'oci'])(
    'by %s are what sandboxes are made from, on every driver, when it is long gone',
    async (by, context) => {
      const box = await changed(context, by)
      const before = await box.inspect()
      const saved = await box.checkpoint({ name: 'ready' })
      expect(saved).toMatchObject({
        id: expect.stringMatching(/^cp-/),
        name: 'ready',
        kind: 'filesystem',
        sandboxId: box.id,
        image: 'busybox',
        driver: by,
        limits: before.limits,
      })
      expect(saved.sizeBytes).toBeGreaterThan(512)
      await box.remove()
      expect(await world.client.checkpoints.list()).toEqual([saved])
      expect(await world.client.checkpoints.get('ready')).toEqual(saved)
      for (const driver of ['oci', 'docker']) {
        for (const from of [saved.id, 'ready', Image.checkpoint('ready')]) {
          const copy = await world.create({ from, driver })
          expect(await copy.inspect()).toMatchObject({ image: saved.id, imageDigest: saved.imageDigest, driver })
          await check(copy)
          await copy.remove()
        }
      }
      expect(await left()).toEqual([])
    },
  )

  test('of sandboxes made from checkpoints hold the changes of both', async (context) => {
    const first = await (await changed(context)).checkpoint()
    const box = await world.create({ from: first.id, driver: 'docker' })
    await box.exec('rmdir /gone && mkdir /gone && touch /gone/not; echo second > /second')
    const second = await box.checkpoint()
    expect(second.image).toBe(first.id)
    await world.client.checkpoints.remove(first.id)
    const copy = await world.create({ from: second.id })
    await check(copy)
    expect((await copy.exec('ls /gone; cat /second')).stdout).toBe('not\nsecond\n')
  })

  test('leave what runs running, and its output whole', async (context) => {
    const box = await changed(context)
    await box.exec('head -c 60000000 /dev/urandom > /big')
    const running = box.exec('i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; /bin/busybox usleep 1000; done')
    await world.until(async () => (await box.execs()).some(({ outputEnd }) => outputEnd > 100), 'output', 10_000)
    const saved = await box.checkpoint()
    const { exitCode, stdout } = await running
    expect(exitCode).toBe(0)
    expect(stdout).toBe(`${Array.from({ length: 3000 }, (_, at) => at + 1).join('\n')}\n`)
    expect(saved.sizeBytes).toBeGreaterThan(60_000_000)
    expect(await box.inspect()).toMatchObject({ state: 'running', end: null })
  })

  test('can be made of a stopped sandbox', async (context) => {
    const box = await changed(context)
    await box.stop()
    const { id } = await box.checkpoint()
    await check(await world.create({ from: id }))
    await box.start()
    await check(box)
  })

  test('have names that are taken once, and ids that nothing else has', async (context) => {
    const box = await changed(context)
    const [one, two] = await Promise.allSettled([box.checkpoint({ name: 'twice' }), box.checkpoint({ name: 'twice' })])
    expect([one.status, two.status].sort()).toEqual(['fulfilled', 'rejected'])
    const failed = one.status === 'rejected' ? one : (two as PromiseRejectedResult)
    expect(failed.reason).toMatchObject({ code: 'already_exists', reason: 'name_taken' })
    await expect(box.checkpoint({ name: 'cp-00000000000000' })).rejects.toMatchObject({ code: 'invalid_argument' })
    await expect(box.checkpoint({ name: '../x' })).rejects.toMatchObject({ code: 'invalid_argument' })
    expect(await world.client.checkpoints.list()).toHaveLength(1)
    await expect(world.create({ from: 'cp-00000000000000' })).rejects.toMatchObject({
      code: 'not_found',
      reason: 'checkpoint_not_found',
    })
    // A name that an image has is the image's; the checkpoint is had by its id.
    const named = await box.checkpoint({ name: 'busybox' })
    expect(await (await world.create({ from: 'busybox' })).inspect()).toMatchObject({ image: 'busybox' })
    expect(await (await world.create({ from: Image.checkpoint('busybox') })).inspect()).toMatchObject({
      image: named.id,
    })
  })

  test('keep their image from prune and from image rm, and let it go with the last that uses it', async (context) => {
    if (!docker) return context.skip(why)
    const start = blobs()
    const box = await changed(context)
    const saved = await box.checkpoint()
    await box.remove()
    await world.client.images.prune()
    await expect(world.client.images.remove(saved.imageDigest)).rejects.toMatchObject({ reason: 'image_in_use' })
    const copy = await world.create({ from: saved.id })
    await world.client.checkpoints.remove(saved.id)
    await world.client.images.prune()
    await copy.stop()
    await copy.start()
    await check(copy)
    expect(blobs()).toBeGreaterThan(start)
    await copy.remove()
    await world.client.images.prune()
    expect(blobs()).toBe(start)
  })

  test('keep their image when their entry cannot be read, and prune says that it keeps what may be theirs', async (context) => {
    const box = await changed(context)
    const saved = await box.checkpoint()
    await box.remove()
    const stem = createHash('sha256').update(saved.id).digest('hex')
    const entry = join(world.gateway.home, 'registry/checkpoints', `${stem}.json`)
    const good = readFileSync(entry)
    await world.gateway.stop()
    writeFileSync(entry, good.subarray(0, good.length / 2))
    await world.gateway.start()
    expect(await world.client.checkpoints.list()).toEqual([])
    expect(await coppice.run(['image', 'prune'])).toMatchObject({
      code: 0,
      stderr: expect.stringContaining('Kept 1 image without a name'),
    })
    // Names can be taken away as ever.
    await world.client.images.import(createReadStream(join(world.gateway.home, 'busybox.tar')), { name: 'other' })
    await world.client.images.remove('other')
    await world.gateway.stop()
    writeFileSync(entry, good)
    await world.gateway.start()
    await check(await world.create({ from: saved.id }))
    expect(await world.client.images.prune()).toMatchObject({ kept: 0 })
  })

  test('are refused by a driver that cannot, which names one that can', async (context) => {
    if (!docker) return context.skip(why)
    const box = await world.create({ driver: 'process' })
    await expect(box.checkpoint()).rejects.toMatchObject({
      code: 'unsupported',
      reason: 'checkpoint',
      facts: { drivers: ['oci', 'docker', 'podman'] },
      hint: 'coppice create --driver oci',
    })
    expect(await world.client.checkpoints.list()).toEqual([])
  })

  test('that nobody waits for any more are taken back', async (context) => {
    const box = await changed(context)
    await box.exec('head -c 100000000 /dev/urandom > /big')
    const start = blobs()
    for (const seen of [() => paused(), () => saving()]) {
      const abort = new AbortController()
      const call = box.checkpoint({ name: 'unwanted', signal: abort.signal })
      call.catch(() => {})
      await world.until(seen, 'the checkpoint to be under way', 20_000)
      abort.abort()
      await expect(call).rejects.toMatchObject({ code: 'cancelled' })
      await world.until(async () => (await left()).length === 0, 'nothing to be left', 30_000)
    }
    expect(await world.client.checkpoints.list()).toEqual([])
    expect(blobs()).toBe(start)
    expect(await box.checkpoint({ name: 'unwanted' })).toMatchObject({ name: 'unwanted' })
  })

  const paused = async () => {
    const containers = await (await (docker as PrivateDocker).connect()).containers.list([], none)
    return containers.some(({ State }) => State === 'paused')
  }
  const saving = async () => {
    const images = await (await (docker as PrivateDocker).connect()).images.list([], none)
    return images.some(({ RepoTags }) => RepoTags?.some((name) => name.includes(':saved-')))
  }

  const marked = ({ id }: Sandbox) => existsSync(join(world.gateway.home, 'drivers/oci', id, 'saving.json'))
  const stored = async () => (await left()).length > 0

  test.for<[string, string, (box: Sandbox) => boolean | Promise<boolean>]>([
    ['docker', 'the sandbox is held still', paused],
    ['docker', 'its files are read', saving],
    ['oci', 'the sandbox is held still', marked],
    ['oci', 'its files are read', stored],
  ])('of %s whose gateway is killed while %s leave nothing, and the sandbox goes on', async ([by, , seen], context) => {
    const box = await changed(context, by)
    await box.exec('head -c 200000000 /dev/urandom > /big')
    const start = blobs()
    // Not by the SDK: it would ask the next gateway again.
    const { url, token } = world.gateway
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
    const request = { method: 'POST', headers, body: JSON.stringify({ name: 'half' }) }
    const call = fetch(`${url}/v1/sandboxes/${box.id}/checkpoints`, request)
    call.catch(() => {})
    await world.until(() => seen(box), 'the checkpoint to be under way', 20_000)
    await world.gateway.kill()
    await expect(call).rejects.toThrow()
    await world.gateway.start()
    expect(await world.client.checkpoints.list()).toEqual([])
    await world.until(async () => (await left()).length === 0, 'nothing to be left', 40_000)
    await check(box)
    expect(marked(box)).toBe(false)
    expect(blobs()).toBe(start)
    expect(await box.checkpoint({ name: 'half' })).toMatchObject({ name: 'half' })
  })

  test.for(['while it is saved', 'while it is answered', 'with the gateway'])(
    'are made once by a call whose connection is cut %s',
    async (when, context) => {
      const box = await changed(context, 'oci')
      await box.exec('head -c 50000000 /dev/urandom > /big')
      let cut = false
      const open = new Set<Socket>()
      const proxy = createServer((client) => {
        const gateway = connect(Number(new URL(world.gateway.url).port), '127.0.0.1')
        for (const socket of [client, gateway]) {
          open.add(socket)
          socket.on('error', () => {}).on('close', () => [client, gateway].map((each) => each.destroy()))
        }
        client.pipe(gateway)
        gateway.on('data', (bytes) => {
          if (when !== 'while it is answered' || cut || !bytes.includes('"cp-')) return client.write(bytes)
          cut = true
          return client.destroy()
        })
      })
      await once(proxy.listen(0, '127.0.0.1'), 'listening')
      const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
      const client = new Coppice({ url, token: world.gateway.token })
      try {
        const far = when === 'with the gateway' ? box : await Sandbox.connect(box.id, { client })
        const making = far.checkpoint({ name: 'once' })
        making.catch(() => {})
        if (when !== 'while it is answered') {
          await world.until(() => marked(box), 'the checkpoint to be under way', 20_000)
          cut = true
          if (when === 'with the gateway') await world.gateway.kill()
          else for (const socket of open) socket.destroy()
        }
        if (when === 'with the gateway') await world.gateway.start()
        const saved = await making
        expect(cut).toBe(true)
        expect(saved.name).toBe('once')
        expect(await world.client.checkpoints.list()).toEqual([saved])
      } finally {
        client.close()
        for (const socket of open) socket.destroy()
        proxy.close()
      }
      await world.until(async () => (await left()).length === 0, 'nothing to be left', 40_000)
    },
  )

  test('are what an earlier call with the same key has made, of the same sandbox and name', async (context) => {
    const box = await changed(context, 'oci')
    const both = await Promise.all([box.checkpoint({ key: 'one' }), box.checkpoint({ key: 'one' })])
    expect(await world.client.checkpoints.list()).toEqual([both[0]])
    expect(both[1]).toEqual(both[0])
    const other = await world.create()
    for (const wrong of [box.checkpoint({ key: 'one', name: 'other' }), other.checkpoint({ key: 'one' })])
      await expect(wrong).rejects.toMatchObject({ code: 'conflict', reason: 'key_reused' })
    await world.gateway.kill()
    await world.gateway.start()
    await box.remove()
    expect(await box.checkpoint({ key: 'one' })).toEqual(both[0])
    await world.client.checkpoints.remove(both[0].id)
    expect((await other.checkpoint({ key: 'one' })).sandboxId).toBe(other.id)
  })

  test('are made, listed, used and removed by the command line', async (context) => {
    const box = await changed(context)
    const made = await coppice.run(['checkpoint', box.id, '--name', 'ready'])
    expect(made).toMatchObject({ code: 0, stdout: expect.stringMatching(/^cp-[0-9a-z]{14}\n$/) })
    const id = made.stdout.trim()
    expect((await coppice.run(['ls', '--checkpoints'])).stdout).toMatch(
      new RegExp(`^ID .*SIZE.*\\n${id} +ready +filesystem +${box.id} +busybox +docker `),
    )
    expect((await coppice.run(['ls', '--checkpoints', '-q'])).stdout).toBe(made.stdout)
    for (const from of [id, 'ready']) {
      const created = await coppice.run(['create', '--from', from])
      expect(created).toMatchObject({ code: 0, stderr: expect.stringContaining(`checkpoint ${id}\n`) })
      expect((await coppice.run(['rm', created.stdout.trim()])).code).toBe(0)
    }
    expect(JSON.parse((await coppice.run(['inspect', id])).stdout)).toMatchObject({ id, name: 'ready' })
    // A name is a sandbox's unless it is said to be a checkpoint's.
    expect(await coppice.run(['rm', 'ready'])).toMatchObject({ stderr: expect.stringContaining('sandbox_not_found') })
    expect(await coppice.run(['rm', '--checkpoints', 'ready'])).toMatchObject({ code: 0, stdout: made.stdout })
    const again = (await coppice.run(['checkpoint', box.id])).stdout
    expect(await coppice.run(['rm', again.trim()])).toMatchObject({ code: 0, stdout: again })
    expect(await world.client.checkpoints.list()).toEqual([])
    expect(await coppice.run(['checkpoint', 'nobody', '--json'])).toMatchObject({
      code: 125,
      stdout: expect.stringContaining('sandbox_not_found'),
    })
  })
})
