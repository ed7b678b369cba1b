import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { buildTar, type TestEntry } from '@coppice/images/testing'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, beforeAll, describe, expect, onTestFinished, type TestContext, test, vi } from 'vitest'
import { type EngineState, EventFeed } from '../events/event-feed.ts'
import { HeldLayers, isAboutArchive } from '../layers/held-layers.ts'
import { Middleman } from '../testing/middleman.ts'
import { PrivateDocker } from '../testing/private-docker.ts'
import type { PrivateEngine } from '../testing/private-engine.ts'
import { PrivatePodman } from '../testing/private-podman.ts'
import { Engine } from './engine.ts'
import type { EngineEvent } from './types.ts'

const none = Progress.none()
const MiB = 1024 * 1024

async function* once1(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

const archive = (entries: TestEntry[]) => {
  const bytes = buildTar(entries)
  return { sizeBytes: bytes.length, chunks: once1(bytes) }
}

for (const kind of ['docker', 'podman'] as const) {
  describe(`${kind} over its socket`, () => {
    let daemon: PrivateEngine
    let engine: Engine
    let unavailable: string | undefined

    beforeAll(async () => {
      const opened = kind === 'docker' ? await PrivateDocker.open() : await PrivatePodman.open()
      if ('unavailable' in opened) {
        unavailable = opened.unavailable
        return
      }
      daemon = opened
      engine = await daemon.connect()
      await build('test/small', [
        { name: 'Dockerfile', body: 'FROM scratch\nCOPY file /file\n' },
        { name: 'file', body: 'small' },
      ])
    })
    afterAll(() => daemon?.close())

    const needs = (context: TestContext): void => {
      if (unavailable) context.skip(unavailable)
    }
    const build = async (tag: string, entries: TestEntry[]): Promise<string[]> =>
      Array.fromAsync(engine.builds.build(archive(entries), { tag }, none))
    const container = async (context: TestContext): Promise<string> => {
      needs(context)
      const name = `c-${randomBytes(4).toString('hex')}`
      await engine.containers.create(
        name,
        { Image: 'test/small', Cmd: ['/file'], HostConfig: { NetworkMode: 'none' } },
        none,
      )
      return name
    }

    test('who it is, and which version was agreed on', async (context) => {
      needs(context)
      expect(engine.dialect.kind).toBe(kind)
      expect(engine.apiVersion).toMatch(/^1\.\d+$/)
      expect(await engine.info(none)).toMatchObject({ OSType: 'linux', MemoryLimit: true, PidsLimit: true })
    })

    test('a build tells its log line by line, and makes the image', async (context) => {
      needs(context)
      const said = await build('test/built', [{ name: 'Dockerfile', body: 'FROM test/small\nLABEL a=b\n' }])
      expect(said.join('')).toMatch(/FROM (docker\.io\/)?test\/small/)
      expect(await engine.images.inspect('test/built', none)).toMatchObject({ Config: { Labels: { a: 'b' } } })
      await engine.images.remove('test/built', none)
      expect(await engine.images.inspect('test/built', none)).toBeUndefined()
    })

    test('a build that fails says at what', async (context) => {
      needs(context)
      await expect(
        build('test/bad', [{ name: 'Dockerfile', body: 'FROM scratch\nCOPY not-there /\n' }]),
      ).rejects.toMatchObject({ name: 'CoppiceError', message: expect.stringContaining('not-there') })
      expect(await engine.images.inspect('test/bad', none)).toBeUndefined()
    })

    test('an archive into a container and out of it, of known length and in chunks', async (context) => {
      const id = await container(context)
      const bytes = randomBytes(3 * MiB + 17)
      await engine.containers.putArchive(id, '/', archive([{ name: 'big', body: bytes }]), none)
      async function* chunks() {
        const whole = buildTar([{ name: 'again', body: bytes }])
        for (let at = 0; at < whole.length; at += 60_000) yield whole.subarray(at, at + 60_000)
      }
      await engine.containers.putArchive(id, '/', { chunks: chunks() }, none)
      for (const name of ['big', 'again']) {
        expect(await engine.containers.statPath(id, `/${name}`, none)).toMatchObject({ name, size: bytes.length })
        const got = Buffer.concat(await Array.fromAsync(engine.containers.getArchive(id, `/${name}`, none)))
        expect(got.includes(bytes)).toBe(true)
      }
      expect(await engine.containers.statPath(id, '/nothing', none)).toBeUndefined()
      await expect(engine.containers.statPath('no-such', '/', none)).rejects.toMatchObject({ code: 'not_found' })
      await engine.containers.remove(id, none)
    })

    test('an archive that is shorter than was said is an error, and its file is not there whole', async (context) => {
      const id = await container(context)
      const whole = buildTar([{ name: 'cut', body: Buffer.alloc(2 * MiB, 1) }])
      const body = { sizeBytes: whole.length, chunks: once1(whole.subarray(0, MiB)) }
      await expect(engine.containers.putArchive(id, '/', body, none)).rejects.toMatchObject({
        reason: 'source_changed',
      })
      expect((await engine.containers.statPath(id, '/cut', none))?.size).not.toBe(2 * MiB)
      await engine.containers.remove(id, none)
    })

    test('an archive into a container that is not there is refused before it is sent whole', async (context) => {
      needs(context)
      let sent = 0
      async function* endless() {
        yield buildTar([{ name: 'x', size: 2 ** 33 - 1 }], { end: false })
        for (; sent < 10_000; sent++) yield Buffer.alloc(MiB)
      }
      await expect(engine.containers.putArchive('no-such', '/', { chunks: endless() }, none)).rejects.toMatchObject({
        code: 'not_found',
      })
      expect(sent).toBeLessThan(1000)
    })

    test('an image out as an archive, and in again', async (context) => {
      needs(context)
      await engine.images.list([], none)
      const saved = Buffer.concat(await Array.fromAsync(engine.images.save(['test/small'], none)))
      expect(saved.includes('manifest.json')).toBe(true)
      const before = await engine.images.mustInspect('test/small', none)
      await engine.images.load({ sizeBytes: saved.length, chunks: once1(saved) }, none)
      expect((await engine.images.mustInspect('test/small', none)).Id).toBe(before.Id)
      await expect(engine.images.mustInspect('no/such', none)).rejects.toMatchObject({
        reason: 'engine_image_not_found',
        hint: `${kind} images`,
      })
    })

    test('an image out of an engine that has fallen silent is given up, and nothing waits for it', async (context) => {
      needs(context)
      const middle = await Middleman.listen(daemon.socket)
      onTestFinished(() => middle.close())
      const via = await Engine.connect(middle.socket, kind, none)
      vi.stubEnv('COPPICE_TRANSFER_STALL_SECS', '1')
      onTestFinished(() => void vi.unstubAllEnvs())
      daemon.freeze()
      try {
        await expect(Array.fromAsync(via.images.save(['test/small'], none))).rejects.toMatchObject({
          code: 'deadline_exceeded',
          reason: 'transfer_stalled',
          facts: { stallMs: 1000, engine: kind },
        })
        await expect.poll(() => middle.open('/images/get')).toBe(0)
      } finally {
        daemon.thaw()
      }
      await engine.images.mustInspect('test/small', none)
    })

    test('what is no image is refused in its own words', async (context) => {
      needs(context)
      const load = (via: Engine) =>
        via.images
          .load({ chunks: once1(buildTar([{ name: 'nothing', body: 'of use' }])) }, none)
          .catch((cause: unknown) => cause)
      const refused = await load(engine)
      expect(refused).toMatchObject({ name: 'CoppiceError', message: expect.stringMatching(/images\/load/) })
      expect(isAboutArchive(refused)).toBe(true)
      const middle = await Middleman.listen(daemon.socket)
      try {
        const via = await Engine.connect(middle.socket, kind, none)
        middle.refused.add('/images/load')
        expect(isAboutArchive(await load(via))).toBe(false)
      } finally {
        await middle.close()
      }
    })

    test('which layers it holds, in the way that an archive can do without them', async (context) => {
      needs(context)
      const [own = ''] = (await engine.images.mustInspect('test/small', none)).RootFS?.Layers ?? []
      const other = `sha256:${'0'.repeat(64)}`
      const find = async (diffIds: string[], archive = engine.dialect.imageArchive) => [
        ...(await new HeldLayers().find(engine, diffIds, archive, none)),
      ]
      expect(await find([own, other])).toEqual([0])
      expect(await find([other, own])).toEqual(kind === 'docker' ? [] : [1])
      expect(await find([own], kind === 'docker' ? 'oci-archive' : 'docker-archive')).toEqual([])
    })

    test('a download that nobody reads on is hung up', async (context) => {
      const id = await container(context)
      await engine.containers.putArchive(id, '/', archive([{ name: 'big', body: Buffer.alloc(20 * MiB) }]), none)
      for await (const chunk of engine.containers.getArchive(id, '/big', none)) {
        expect(chunk.length).toBeGreaterThan(0)
        break
      }
      const abort = new AbortController()
      const read = async (): Promise<void> => {
        for await (const _chunk of engine.containers.getArchive(id, '/big', new Progress({ signal: abort.signal })))
          abort.abort()
      }
      await expect(read()).rejects.toMatchObject({ code: 'cancelled' })
      await engine.containers.remove(id, none)
    })

    test('a socket that this user may not use is told as that, not as no engine', async (context) => {
      needs(context)
      // The folder can be walked, the socket not be opened.
      chmodSync(daemon.dir, 0o711)
      chmodSync(daemon.socket, 0o600)
      const program = `
        import { Engine } from ${JSON.stringify(join(import.meta.dirname, 'engine.ts'))}
        import { Progress } from '@coppice/protocol/wire'
        process.setgid(65534); process.setuid(65534)
        await Engine.connect(${JSON.stringify(daemon.socket)}, '${kind}', Progress.none()).catch((e) => console.log(e.code, e.reason))`
      const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', program], {
        cwd: import.meta.dirname,
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const [said] = await once(child.stdout, 'data')
      expect(String(said)).toBe('permission_denied engine_forbidden\n')
    })

    test('events go on over a restart, each is told once, and what was missed is told', async (context) => {
      needs(context)
      const events: EngineEvent[] = []
      const states: EngineState[] = []
      const feed = new EventFeed({
        connect: () => daemon.connect(),
        onEvent: (event) => events.push(event),
        onState: (state) => states.push(state),
        pingMs: 100,
      })
      const named = (name: string) =>
        events.filter(({ attributes, action }) => attributes.name === name && action === 'create')
      const create = async (name: string): Promise<void> => {
        await engine.containers.create(
          name,
          { Image: 'test/small', Cmd: ['/file'], HostConfig: { NetworkMode: 'none' } },
          none,
        )
      }
      try {
        await expect.poll(() => states.map(({ available }) => available)).toEqual([true])
        await create('before')
        await expect.poll(() => named('before').length, { timeout: 10_000 }).toBe(1)
        await daemon.end('SIGKILL')
        await expect.poll(() => states.map(({ available }) => available), { timeout: 10_000 }).toEqual([true, false])
        // Podman makes containers without its service, Docker does not.
        if (kind === 'podman')
          await daemon.run('create', '--name', 'missed', '--network', 'none', 'test/small', '/file')
        await daemon.start()
        await expect
          .poll(() => states.map(({ available }) => available), { timeout: 10_000 })
          .toEqual([true, false, true])
        await create('after')
        await expect.poll(() => named('after').length, { timeout: 10_000 }).toBe(1)
        expect([named('before').length, named('missed').length]).toEqual([1, kind === 'podman' ? 1 : 0])
        daemon.freeze()
        await expect.poll(() => states.at(-1)?.available, { timeout: 10_000 }).toBe(false)
        daemon.thaw()
        await expect.poll(() => states.at(-1)?.available, { timeout: 10_000 }).toBe(true)
        expect(states).toHaveLength(5)
      } finally {
        feed.close()
      }
    })
  })
}
