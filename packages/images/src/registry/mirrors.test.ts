import { createHash, randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { FaultRegistry } from '../testing/fault-registry.ts'
import { buildTar } from '../testing/tar-builder.ts'
import { mirrorsOf, parseMirror } from './mirrors.ts'
import { pullSettings } from './settings.ts'

describe('the address of a mirror', () => {
  it.each([
    ['https://mirror.example', { host: 'mirror.example', prefix: '', plain: false }],
    ['https://Mirror.example:5000/', { host: 'mirror.example:5000', prefix: '', plain: false }],
    ['mirror:5000/proxy/hub', { host: 'mirror:5000', prefix: 'proxy/hub', plain: false }],
    ['http://10.0.0.1:80', { host: '10.0.0.1:80', prefix: '', plain: true }],
    ['http://[::1]:5000', { host: '[::1]:5000', prefix: '', plain: true }],
  ])('%s is read', (text, mirror) => {
    expect(parseMirror(text)).toEqual(mirror)
  })

  it.each([
    '',
    'ftp://mirror.example',
    'https://user:secret@mirror.example',
    'https://mirror.example/?x=1',
    'https://mirror.example/v2/proxy',
    'https://mirror.example/Upper',
    'https://../..',
    'mirror.example/a/../b',
  ])('%j is refused', (text) => {
    expect(() => parseMirror(text)).toThrow(expect.objectContaining({ reason: 'bad_mirror' }))
  })

  it('is looked up by any name of Docker Hub', () => {
    const [mirror] = mirrorsOf('docker.io', { 'registry-1.docker.io': ['m.example'] })
    expect(mirror?.host).toBe('m.example')
    expect(mirrorsOf('ghcr.io', { 'docker.io': ['m.example'] })).toEqual([])
  })
})

describe('an image with mirrors', () => {
  const noise = buildTar([{ name: 'noise', body: randomBytes(3_000_000) }])
  const noiseDigest = `sha256:${createHash('sha256').update(noise).digest('hex')}`
  const hello = buildTar([{ name: 'hello', body: 'hello' }])
  const images = [{ layers: [{ tar: noise }, { tar: hello }] }]
  let dir: string
  let store: ImageStore
  let registry: FaultRegistry
  let mirror: FaultRegistry
  let said: string[]
  let digest: string | undefined

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-mirrors-'))
    store = await ImageStore.open(join(dir, 'store'))
    registry = await FaultRegistry.start()
    mirror = await FaultRegistry.start()
    said = []
    stallMs = 60_000
    ;[digest] = registry.add('team/app:1', images)
  })
  afterEach(async () => {
    await registry.stop()
    await mirror.stop()
    await rm(dir, { recursive: true, force: true })
  })

  let stallMs: number
  const pull = (name: string, ...mirrors: string[]) =>
    store.import(
      `docker://${registry.host}/${name}`,
      { registry: { retryMs: 1, stallMs, dockerConfig: dir, mirrors: { [registry.host]: mirrors } } },
      new Progress({ onEvent: ({ message }) => said.push(message) }),
    )
  const passedOver = () => said.filter((line) => line.includes('passed over'))

  it('comes from the first that has it, under its own name, and the registry is not asked', async () => {
    mirror.add('proxy/hub/team/app:1', images)
    const image = await pull('team/app:1', `http://${mirror.host}/proxy/hub`)
    expect(image).toMatchObject({ name: `${registry.host}/team/app:1`, digest, layers: 2 })
    expect(registry.seen).toEqual([])
    expect(said[0]).toContain(`${mirror.host}/proxy/hub/team/app:1`)
  })

  it.each([
    ['does not have it', () => {}, 'not_in_registry', /has no the image|has no image|404|manifest/],
    [
      'fails',
      () => {
        mirror.fault = () => ({ status: 503 })
      },
      'registry_failed',
      /503/,
    ],
    [
      'wants to know who asks',
      () => {
        mirror.auth = 'basic'
      },
      'registry_unauthenticated',
      /credentials/,
    ],
    [
      'limits how often it is asked',
      () => {
        mirror.fault = () => ({ status: 429 })
      },
      'registry_rate_limit',
      /limits/,
    ],
  ])('comes from the registry when a mirror %s, which is said', async (_, harm, __, words) => {
    harm()
    expect((await pull('team/app:1', `http://${mirror.host}`)).digest).toBe(digest)
    expect(passedOver()).toEqual([expect.stringMatching(words)])
    expect(passedOver()[0]).toContain(mirror.host)
  })

  it('comes from the registry when nobody listens at a mirror any more, and when nobody answers there', async () => {
    const dead = await FaultRegistry.start()
    await dead.stop()
    expect((await pull('team/app:1', `http://${dead.host}`, `https://nowhere.invalid`)).digest).toBe(digest)
    expect(passedOver()).toHaveLength(2)
    await store.remove(`${registry.host}/team/app:1`)
    const sockets: Socket[] = []
    const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
    await new Promise((resolve) => silent.once('listening', resolve))
    const { port } = silent.address() as { port: number }
    stallMs = 500
    try {
      expect((await pull('team/app:1', `http://127.0.0.1:${port}`)).digest).toBe(digest)
      expect(passedOver().at(-1)).toMatch(/no answer for|nothing came/)
    } finally {
      for (const socket of sockets) socket.destroy()
      silent.close()
    }
  })

  it('is not taken from a mirror that has something else under its digest', async () => {
    mirror.add('team/app:1', [{ layers: [{ tar: hello }] }])
    const theirs = [...mirror.manifests.values()][0]
    mirror.manifests.set(`team/app/${digest}`, theirs as { type: string; body: Buffer })
    const image = await pull(`team/app@${digest}`, `http://${mirror.host}`)
    expect(image).toMatchObject({ digest, layers: 2 })
    expect(passedOver()).toEqual([expect.stringContaining('not what its digest says')])
  })

  it('keeps nothing of a layer that a mirror has changed', async () => {
    mirror.add('team/app:1', images)
    mirror.blobs.set(noiseDigest, Buffer.from(noise).fill(0, 1000, 2000))
    expect((await pull('team/app:1', `http://${mirror.host}`)).digest).toBe(digest)
    expect(passedOver()).toHaveLength(1)
    await store.export(`${registry.host}/team/app:1`, join(dir, 'out.tar'), Progress.none())
  })

  it('goes on at the registry where a mirror has stopped', async () => {
    mirror.add('team/app:1', images)
    let cuts = 0
    mirror.fault = ({ path }) => (path.endsWith(noiseDigest) ? { cutAfter: cuts++ === 0 ? 1_000_000 : 0 } : undefined)
    expect((await pull('team/app:1', `http://${mirror.host}`)).digest).toBe(digest)
    const [again] = registry.requests('GET', new RegExp(noiseDigest))
    expect(again?.range).toMatch(/^bytes=[1-9]/)
  })

  it('says what was wrong with each when it comes from nowhere', async () => {
    mirror.fault = () => ({ status: 500 })
    const failure = await pull('team/other:1', `http://${mirror.host}`).catch((error) => error)
    expect(failure).toMatchObject({
      reason: 'not_in_registry',
      facts: { mirrors: [{ mirror: mirror.host, reason: 'registry_failed' }] },
    })
    expect(failure.message).toContain(`${mirror.host} answered 500`)
  })

  it('is asked for at a mirror as whoever the mirror knows, never as whom the registry knows', async () => {
    await mkdir(dir, { recursive: true })
    const auth = Buffer.from('user:secret').toString('base64')
    await writeFile(join(dir, 'config.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }))
    mirror.auth = 'basic'
    registry.auth = 'basic'
    expect((await pull('team/app:1', `http://${mirror.host}`)).digest).toBe(digest)
    expect(mirror.seen.map(({ authorization }) => authorization)).not.toContain(`Basic ${auth}`)
    await writeFile(join(dir, 'config.json'), JSON.stringify({ auths: { [mirror.host]: { auth } } }))
    mirror.add('team/app:2', images)
    expect((await pull('team/app:2', `http://${mirror.host}`)).digest).toBe(digest)
  })

  it('never has its own credentials sent to a mirror that was given in the call', async () => {
    const reference = { host: registry.host, repository: 'team/app', tag: '1', digest: undefined }
    const options = {
      credentials: { username: 'u', password: 'p' },
      mirrors: { [registry.host]: [mirror.host] },
      dockerConfig: dir,
    }
    const [first, last] = await pullSettings(reference, options, Progress.none())
    expect([first?.credentials, last?.credentials]).toEqual([undefined, options.credentials])
  })
})
