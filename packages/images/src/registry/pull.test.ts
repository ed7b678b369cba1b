import { createHash, randomBytes } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress, type ProgressEvent } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { type Fault, FaultRegistry, type Seen } from '../testing/fault-registry.ts'
import { buildTar } from '../testing/tar-builder.ts'
import type { RegistryOptions } from './settings.ts'

const none = Progress.none()
const hello = buildTar([{ name: 'hello', body: 'hello' }])
const noise = buildTar([{ name: 'noise', body: randomBytes(3_000_000) }])
const noiseDigest = `sha256:${createHash('sha256').update(noise).digest('hex')}`
const blob = new RegExp(`/blobs/${noiseDigest}$`)

describe('an image from a registry', () => {
  let dir: string
  let store: ImageStore
  let registry: FaultRegistry
  const quick: RegistryOptions = { retryMs: 1, attempts: 3, stallMs: 60_000 }
  const pull = (name: string, options: RegistryOptions = {}, progress = none) =>
    store.import(
      `docker://${registry.host}/${name}`,
      { registry: { ...quick, dockerConfig: dir, ...options } },
      progress,
    )
  /** Things that go wrong with the requests for the large blob, one after the other. */
  const blobFaults = (...faults: (Fault | undefined)[]) => {
    registry.fault = (seen) => (blob.test(seen.path) ? faults.shift() : undefined)
  }
  const blobRequests = () => registry.requests('GET', blob)

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-pull-'))
    store = await ImageStore.open(join(dir, 'store'))
    registry = await FaultRegistry.start()
  })
  afterEach(async () => {
    await registry.stop()
    await rm(dir, { recursive: true, force: true })
  })

  it.each([
    ['OCI', false],
    ['schema 2', true],
  ])('comes with all its layers, packed or not: %s', async (_, docker) => {
    const layers = [
      { tar: hello, packed: 'gzip' as const },
      ...(docker ? [] : [{ tar: hello, packed: 'zstd' as const }]),
      { tar: noise },
    ]
    const [digest] = registry.add('team/app:1', [{ layers, config: { Cmd: ['x'] } }], docker)
    const image = await pull('team/app:1')
    expect(image).toMatchObject({ name: `${registry.host}/team/app:1`, digest, layers: layers.length })
    expect(image.config.cmd).toEqual(['x'])
    expect(image.transferred.bytes).toBe(image.sizeBytes)
    await store.export(image.name, join(dir, 'out.tar'), none)
  })

  it('comes in the variant for this machine, or the one asked for, and nothing of the others', async () => {
    const other = process.arch === 'x64' ? 'arm64' : 'amd64'
    const images = [
      { layers: [{ tar: hello }], architecture: other },
      { layers: [{ tar: noise }] },
      { layers: [{ tar: hello }], architecture: 'unknown' },
    ]
    const [theirs, ours] = registry.add('app:1', images)
    expect((await pull('app:1')).digest).toBe(ours)
    const source = `docker://${registry.host}/app:1`
    const options = { registry: quick, name: 'foreign' }
    expect((await store.import(source, { ...options, platform: `linux/${other}` }, none)).digest).toBe(theirs)
    await expect(store.import(source, { ...options, platform: 'linux/s390x' }, none)).rejects.toMatchObject({
      reason: 'no_image_for_platform',
      facts: { platforms: expect.arrayContaining([`linux/${other}`]) },
    })
    expect((await pull(`app@${theirs}`)).digest).toBe(theirs)
  })

  it('costs nothing that the store has', async () => {
    registry.add('app:1', [{ layers: [{ tar: noise }, { tar: hello }] }])
    registry.add('app:2', [{ layers: [{ tar: noise }, { tar: hello }, { tar: buildTar([{ name: 'new' }]) }] }])
    await pull('app:1')
    const { transferred } = await pull('app:2')
    expect(transferred.bytes).toBeLessThan(5000)
    expect(blobRequests()).toHaveLength(1)
    expect((await pull('app:2')).transferred).toEqual({ bytes: 0, blobs: 0 })
  })

  it('is downloaded once by imports at the same time, of the same and of different images', async () => {
    registry.add('app:1', [{ layers: [{ tar: noise }] }])
    registry.add('app:2', [{ layers: [{ tar: hello }, { tar: noise }] }])
    const images = await Promise.all(['app:1', 'app:2', 'app:1', 'app:2'].map((name) => pull(name)))
    expect(blobRequests()).toHaveLength(1)
    expect(new Set(images.map((image) => image.digest)).size).toBe(2)
    expect(images.reduce((sum, image) => sum + image.transferred.bytes, 0)).toBeLessThan(noise.length + 5000)
  })

  describe('whose download', () => {
    beforeEach(() => {
      registry.add('app:1', [{ layers: [{ tar: noise }] }])
    })

    it('is cut, goes on where it was cut', async () => {
      blobFaults({ cutAfter: 1_000_000 }, { cutAfter: 500_001 }, { cutAfter: 0 })
      const image = await pull('app:1')
      const [first, second, third, fourth] = blobRequests()
      expect(first?.range).toBeUndefined()
      expect([second, third, fourth].map((seen) => seen?.range)).toEqual([
        expect.stringMatching(/^bytes=[1-9][0-9]*-$/),
        expect.stringMatching(/^bytes=[1-9][0-9]*-$/),
        third === undefined ? undefined : expect.stringMatching(/^bytes=[1-9][0-9]*-$/),
      ])
      expect(image.transferred.bytes).toBe(image.sizeBytes)
    })

    it('is cut more often than there are attempts, goes on as long as it gets further', async () => {
      blobFaults(...Array.from({ length: 8 }, () => ({ cutAfter: 300_000 })))
      await pull('app:1')
      expect(blobRequests().length).toBeGreaterThan(quick.attempts ?? 0)
    })

    it('is cut by a registry that knows no ranges, begins anew', async () => {
      registry.ranges = false
      blobFaults({ cutAfter: 1_000_000 })
      const image = await pull('app:1')
      expect(image.transferred.bytes).toBeGreaterThan(image.sizeBytes)
      await store.export(image.name, join(dir, 'out.tar'), none)
    })

    it('is answered with 500, 503 and 429, waits and tries again', async () => {
      const events: ProgressEvent[] = []
      blobFaults({ status: 500 }, { status: 429, headers: { 'retry-after': '0' } })
      await pull('app:1', {}, new Progress({ onEvent: (event) => events.push(event) }))
      expect(blobRequests()).toHaveLength(3)
      expect(events.map((event) => event.message)).toContainEqual(expect.stringMatching(/500.*Trying again/))
    })

    it.each<[string, Fault, object]>([
      [
        'is always answered with 502',
        { status: 502 },
        { code: 'unavailable', reason: 'registry_failed', retryable: true },
      ],
      [
        'is always limited',
        { status: 429, headers: { 'retry-after': '0' } },
        { code: 'resource_exhausted', reason: 'registry_rate_limit', retryable: true },
      ],
      ['is always cut', { cutAfter: 0 }, { code: 'unavailable', reason: 'registry_unreachable' }],
      [
        'is denied',
        { status: 403, body: '{"errors":[{"message":"no\\nway"}]}' },
        { code: 'permission_denied', facts: { said: 'no way' } },
      ],
      ['is not there', { status: 404 }, { code: 'not_found', reason: 'not_in_registry' }],
      ['hangs', { hang: true }, { code: 'deadline_exceeded', reason: 'transfer_stalled' }],
      ['redirects to nowhere', { status: 307, headers: { location: 'http://[' } }, { reason: 'registry_redirect' }],
      [
        'redirects to another scheme',
        { status: 307, headers: { location: 'file:///etc/passwd' } },
        { reason: 'registry_redirect' },
      ],
      ['is too short', { status: 200, body: noise.subarray(0, 5000) }, { reason: 'size_mismatch' }],
      ['is too long', { status: 200, body: Buffer.concat([noise, hello]) }, { reason: 'size_mismatch' }],
      ['is another', { status: 200, body: Buffer.from(noise).fill(7, 900, 901) }, { reason: 'digest_mismatch' }],
      ['is empty', { status: 200, body: '' }, { reason: 'size_mismatch' }],
    ])('%s, fails typed, and leaves nothing that counts', async (_, fault, expected) => {
      registry.fault = (seen) => (blob.test(seen.path) ? fault : undefined)
      const stall = fault.hang ? { stallMs: 30 } : {}
      await expect(pull('app:1', stall)).rejects.toMatchObject(expected)
      expect((await store.list()).images).toEqual([])
      await store.prune()
      expect(await readdir(join(dir, 'store/blobs/sha256'))).toEqual([])
      expect(await readdir(join(dir, 'store/partial'))).toEqual([])
      registry.fault = () => undefined
      await pull('app:1')
    })

    it('redirects in a circle, fails typed', async () => {
      registry.fault = (seen) => (blob.test(seen.path) ? { status: 302, headers: { location: seen.path } } : undefined)
      await expect(pull('app:1')).rejects.toMatchObject({ reason: 'registry_redirect' })
      expect(blobRequests().length).toBeLessThan(10)
    })

    it('is redirected to storage elsewhere, does not tell that who asks', async () => {
      registry.auth = 'basic'
      const told: (string | undefined)[] = []
      const storage = createServer((request, response) => {
        told.push(request.headers.authorization)
        response.end(noise)
      }).listen(0, '127.0.0.1')
      const address = () => storage.address() as { port: number }
      registry.fault = (seen) =>
        blob.test(seen.path)
          ? { status: 307, headers: { location: `http://localhost:${address().port}/x?sig=1` } }
          : undefined
      await pull('app:1', { credentials: { username: 'user', password: 'secret' } }).finally(() => storage.close())
      expect(told).toEqual([undefined])
    })

    it('was left behind half done by another import, goes on, and does not trust what it finds', async () => {
      const partial = join(dir, 'store/partial', noiseDigest.slice(7))
      await writeFile(partial, noise.subarray(0, 2_000_000))
      expect((await pull('app:1')).transferred.bytes).toBeLessThan(1_100_000)
      expect(blobRequests().map((seen) => seen.range)).toEqual(['bytes=2000000-'])
      await store.remove(`${registry.host}/app:1`)
      for (const bytes of [Buffer.alloc(2_000_000, 1), Buffer.alloc(noise.length), Buffer.alloc(noise.length + 1)]) {
        await writeFile(partial, bytes)
        await pull('app:1')
        await store.remove(`${registry.host}/app:1`)
      }
    })

    it('is cancelled, keeps what came for the next time', async () => {
      const abort = new AbortController()
      blobFaults({ cutAfter: 2_000_000 }, { hang: true })
      const progress = new Progress({
        signal: abort.signal,
        onEvent: ({ message }) => {
          if (message.includes('Trying again')) abort.abort()
        },
      })
      await expect(pull('app:1', {}, progress)).rejects.toMatchObject({ code: 'cancelled' })
      const kept = (await stat(join(dir, 'store/partial', noiseDigest.slice(7)))).size
      expect(kept).toBeGreaterThan(0)
      registry.fault = () => undefined
      await pull('app:1')
      expect(blobRequests().at(-1)?.range).toBe(`bytes=${kept}-`)
    })
  })

  it('with a name that the registry does not know is not found', async () => {
    await expect(pull('nothing:1')).rejects.toMatchObject({ code: 'not_found', reason: 'not_in_registry' })
  })

  it.each([
    ['no JSON', '<html>', { reason: 'malformed_image' }],
    [
      'schema 1',
      '{"schemaVersion":1,"mediaType":"application/vnd.docker.distribution.manifest.v1+json"}',
      { reason: 'not_an_image' },
    ],
    ['9 MiB', ' '.repeat(9 * 1024 * 1024), { reason: 'registry_answer' }],
    ['null', 'null', { reason: 'malformed_image' }],
  ])('whose manifest is %s is refused, typed', async (_, body, expected) => {
    registry.manifests.set('app/1', { type: 'application/vnd.oci.image.manifest.v1+json', body: Buffer.from(body) })
    await expect(pull('app:1')).rejects.toMatchObject(expected)
  })

  it('whose manifest is not that of its digest is refused', async () => {
    const [digest = ''] = registry.add('app:1', [{ layers: [{ tar: hello }] }])
    const other = registry.manifests.get('app/1')
    if (other)
      registry.manifests.set(`app/${digest}`, { ...other, body: Buffer.concat([other.body, Buffer.from(' ')]) })
    await expect(pull(`app@${digest}`)).rejects.toMatchObject({ reason: 'digest_mismatch' })
  })

  it('from a registry that is not there fails without waiting long', async () => {
    const host = registry.host
    await registry.stop()
    registry = await FaultRegistry.start()
    await expect(store.import(`${host}/app:1`, { registry: quick }, none)).rejects.toMatchObject({
      code: 'unavailable',
      reason: 'registry_unreachable',
    })
  })

  describe('that wants to know who asks', () => {
    const login = { username: 'user', password: 'secret' }
    const config = (value: unknown) => writeFile(join(dir, 'config.json'), JSON.stringify(value))
    const basic = Buffer.from('user:secret').toString('base64')
    const secretFree = (seen: Seen[]) => seen.filter((request) => request.authorization?.includes(basic))

    beforeEach(() => {
      registry.add('app:1', [{ layers: [{ tar: noise }] }])
    })

    it('is told by name and password', async () => {
      registry.auth = 'basic'
      await pull('app:1', { credentials: login })
    })

    it('is told by a token that its service gives for them, which goes nowhere else', async () => {
      registry.auth = 'token'
      await pull('app:1', { credentials: login })
      const [asked, ...others] = registry.requests('GET', /^\/token/)
      expect(others).toEqual([])
      const query = new URL(asked?.path ?? '', 'http://x').searchParams
      expect([query.get('scope'), query.get('service')]).toEqual(['repository:app:pull', 'test, "quoted"'])
      expect(secretFree(registry.seen)).toEqual([asked])
    })

    it('is told anew when the token has ended in the middle', async () => {
      registry.auth = 'token'
      registry.fault = (seen, before) => {
        if (blob.test(seen.path) && !before.some((other) => blob.test(other.path))) registry.token = 'second'
        return undefined
      }
      await pull('app:1', { credentials: login })
      expect(registry.requests('GET', /^\/token/)).toHaveLength(2)
    })

    it.each([
      ['a list', { auths: { HOST: { auth: basic } } }],
      ['a list with an address', { auths: { 'http://HOST/v1/': { username: 'user', password: 'secret' } } }],
      ['a token that stands for a person', { auths: { HOST: { identitytoken: 'identity' } } }],
      ['the helper for all', { credsStore: 'test' }],
      ['the helper for this registry', { credHelpers: { HOST: 'test' }, credsStore: 'broken' }],
      ['a list behind a helper that knows nothing', { credsStore: 'empty', auths: { HOST: { auth: basic } } }],
    ])('is told what the configuration of Docker has: %s', async (_, value) => {
      registry.auth = 'token'
      await config(JSON.parse(JSON.stringify(value).replaceAll('HOST', registry.host)))
      await mkdir(join(dir, 'bin'))
      const helper = async (name: string, script: string) => {
        await writeFile(join(dir, 'bin', `docker-credential-${name}`), `#!/bin/sh\n${script}\n`)
        await chmod(join(dir, 'bin', `docker-credential-${name}`), 0o755)
      }
      await helper('test', `[ "$1 $(cat)" = "get ${registry.host}" ] && echo '{"Username":"user","Secret":"secret"}'`)
      await helper('empty', 'echo credentials not found in native keychain; exit 1')
      const path = process.env.PATH
      process.env.PATH = `${join(dir, 'bin')}:${path}`
      await pull('app:1').finally(() => {
        process.env.PATH = path
      })
    })

    it.each<[string, unknown, object]>([
      [
        'nobody',
        {},
        { code: 'unauthenticated', reason: 'registry_unauthenticated', hint: expect.stringContaining('docker login') },
      ],
      ['somebody unknown', { auths: { HOST: { username: 'user', password: 'wrong' } } }, { code: 'unauthenticated' }],
      ['a helper that is not there', { credsStore: 'none-such' }, { reason: 'credential_helper' }],
      ['a helper that is a path', { credsStore: '../../bin/sh' }, { reason: 'credential_helper' }],
      ['nonsense', [1], { reason: 'docker_config' }],
    ])('refuses %s, typed and without the secret', async (_, value, expected) => {
      registry.auth = 'token'
      await config(JSON.parse(JSON.stringify(value).replaceAll('HOST', registry.host)))
      const error = await pull('app:1').then(
        () => undefined,
        (caught) => caught,
      )
      expect(error).toMatchObject(expected)
      expect(JSON.stringify(error.toBody())).not.toContain('wrong')
    })

    it.each([
      ['no token', '{}'],
      ['a token that breaks out of its header', '{"token":"a\\r\\nb: c"}'],
      ['no JSON', 'token'],
    ])('and gives %s is refused', async (_, body) => {
      registry.auth = 'token'
      registry.fault = (seen) => (seen.path.startsWith('/token') ? { status: 200, body } : undefined)
      await expect(pull('app:1', { credentials: login })).rejects.toMatchObject({ reason: 'registry_answer' })
    })
  })
})
