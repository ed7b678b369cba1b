import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { DockerDaemon } from '../testing/docker-daemon.ts'
import { type TestLayer, writeLayout } from '../testing/layout-builder.ts'
import { buildTar } from '../testing/tar-builder.ts'
import type { DockerArchiveOptions } from './docker-archive.ts'

const none = Progress.none()
const layer = (name: string, packed?: 'gzip' | 'zstd'): TestLayer => ({
  tar: buildTar([{ name, body: Buffer.alloc(300_000, name) }]),
  ...(packed && { packed }),
})

describe('a docker archive', { timeout: 120_000 }, () => {
  let daemon: DockerDaemon | string
  let dir: string
  let store: ImageStore

  beforeAll(async () => {
    daemon = await DockerDaemon.start()
    dir = await mkdtemp(join(tmpdir(), 'coppice-docker-archive-'))
    store = await ImageStore.open(join(dir, 'store'))
  })
  afterAll(async () => {
    if (typeof daemon !== 'string') await daemon.stop()
    await rm(dir, { recursive: true, force: true })
  })
  beforeEach((ctx) => {
    if (typeof daemon === 'string') ctx.skip(daemon)
  })
  const engine = () => {
    if (typeof daemon === 'string') throw new Error(daemon)
    return daemon
  }

  const image = async (name: string, layers: TestLayer[]) => {
    await writeLayout(join(dir, name), [{ layers, config: { Cmd: ['/a'] } }])
    await store.import(join(dir, name), { name }, none)
    return store.resolve(name)
  }
  /** Sends it as a stream, and returns how long that was. */
  const load = async (name: string, options: DockerArchiveOptions = {}) => {
    const { sizeBytes, chunks } = await store.openDockerArchive(name, options, none)
    const child = spawn('docker', engine().arguments('load'), { stdio: ['pipe', 'ignore', 'inherit'] })
    const ended = once(child, 'close')
    await pipeline(Readable.from(chunks), child.stdin)
    expect(await ended).toEqual([0, null])
    return sizeBytes
  }
  const layersIn = async (name: string) =>
    JSON.parse(await engine().docker('image', 'inspect', '--format', '{{json .RootFS.Layers}}', name))

  it('is loaded by a Docker engine, layers packed or not, and keeps its id', async () => {
    const { diffIds, manifest } = await image('all', [layer('a'), layer('b', 'gzip'), layer('c', 'zstd'), layer('a')])
    await load('all')
    expect(await layersIn('all:latest')).toEqual(diffIds)
    expect(await engine().docker('image', 'inspect', '--format', '{{.Id}}', 'all')).toBe(manifest.config.digest)
    await load('all', { name: 'registry.example/other:2' })
    expect(await layersIn('registry.example/other:2')).toEqual(diffIds)
  })

  it('goes without the layers that the engine has', async () => {
    await image('base', [layer('x'), layer('y')])
    const whole = await load('base')
    const has = new Set<string>(await layersIn('base'))
    const { diffIds } = await image('more', [layer('x'), layer('y'), layer('z')])
    const sent = await load('more', { layersLacking: (diffId) => !has.has(diffId) })
    expect(await layersIn('more')).toEqual(diffIds)
    expect(sent).toBeLessThan(whole * 0.6)
  })

  it('that the engine saves comes back as it went', async () => {
    const { diffIds, manifest } = await image('round', [layer('r'), layer('s', 'gzip')])
    await load('round')
    const child = spawn('docker', engine().arguments('save', 'round:latest'), { stdio: ['ignore', 'pipe', 'inherit'] })
    const saved = await store.importStream(child.stdout, { name: 'back', format: 'docker-archive' }, none)
    const back = await store.resolve(saved.digest)
    expect(back.diffIds).toEqual(diffIds)
    expect(back.manifest.config.digest).toBe(manifest.config.digest)
  })
})
