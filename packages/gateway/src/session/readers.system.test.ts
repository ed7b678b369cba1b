import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { ClientHttp2Stream } from 'node:http2'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createProcessDriver, type Driver } from '@coppice/drivers'
import {
  LimitsSchema,
  newExecId,
  newKey,
  newSandboxId,
  Progress,
  SupervisorConfigSchema,
  type SupervisorInfo,
} from '@coppice/protocol'
import { stageRuntime } from '@coppice/runtime'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { SessionHub } from './hub.ts'
import type { Link } from './link.ts'

const CANCELLED = 2_000
const STALLED = 500
const OUTPUT_BYTES = 1_000_000

const id = newSandboxId()
let home: string
let hub: SessionHub
let driver: Driver
let link: Link

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'coppice-readers-'))
  hub = new SessionHub({ runDir: join(home, 'r'), leaseMs: 12_000, onLost: () => {} })
  driver = createProcessDriver({ home })
  const { dir } = await stageRuntime({ home })
  await hub.expect(id, 'token')
  const supervisor = SupervisorConfigSchema.parse({
    sandboxId: id,
    token: 'token',
    leaseMs: 12_000,
    boundMs: 30_000,
    defaults: { env: { PATH: process.env.PATH ?? '' }, cwd: '/', user: '' },
    journal: { memoryBytes: 1024 * 1024, diskBytes: 1024 * 1024 },
    resultRetentionMs: 600_000,
    drainMs: 250,
  })
  const image = { digest: '', layers: [], config: { env: {}, cwd: '/', user: '', entrypoint: [], cmd: [], labels: {} } }
  const spec = {
    id,
    hostname: id,
    image,
    limits: LimitsSchema.parse({}),
    readOnlyRoot: false,
    runtimeDir: dir,
    runDir: hub.runDir(id),
    supervisor,
    labels: {},
  }
  await driver.create(spec, Progress.none())
  link = await hub.link(id, 30_000, Progress.none())
}, 120_000)
afterAll(async () => {
  await driver?.remove(id, Progress.none())
  await driver?.close()
  hub?.close()
  rmSync(home, { recursive: true, force: true })
})

async function answer(stream: ClientHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function run(argv: string[]): Promise<{ exec: string; output: Buffer }> {
  const exec = newExecId()
  const stream = link.request(
    { ':method': 'POST', ':path': '/execs', 'content-type': 'application/json' },
    { endStream: false },
  )
  const defaults = { stdin: 'none', graceMs: 2000, journal: 'spill', tied: false }
  stream.end(JSON.stringify({ id: exec, key: newKey(), argv, ...defaults }))
  return { exec, output: await answer(stream) }
}

const info = async () =>
  JSON.parse((await answer(link.request({ ':path': '/info' }, { endStream: true }))).toString()) as SupervisorInfo

describe('one session', () => {
  it('runs a new exec as ever after 2,000 cancelled reads and beside 500 readers that stall', {
    timeout: 180_000,
  }, async () => {
    const { exec } = await run(['head', '-c', String(OUTPUT_BYTES), '/dev/zero'])
    const read = () => link.request({ ':path': `/execs/${exec}/output?from=0` }, { endStream: true })
    const responded = (stream: ClientHttp2Stream) =>
      new Promise<void>((resolve) => stream.once('response', () => resolve()))

    for (let batch = 0; batch < CANCELLED / 100; batch += 1) {
      const streams = Array.from({ length: 100 }, read)
      await Promise.all(streams.map(responded))
      for (const stream of streams) stream.on('error', () => {}).close(8)
    }
    expect(link.alive).toBe(true)

    const stalled = Array.from({ length: STALLED }, read)
    await Promise.all(stalled.map(responded))
    expect((await info()).openStreams).toBeGreaterThanOrEqual(STALLED)
    for (let time = 0; time < 20; time += 1) {
      const { output } = await run(['echo', 'fine'])
      expect(output.includes('fine\n')).toBe(true)
    }
    expect(link.alive).toBe(true)

    // Readers that stalled were only waiting: they can still have everything.
    const [first, second, ...others] = stalled
    for (const stream of [first, second]) {
      if (stream) expect((await answer(stream)).length).toBeGreaterThan(OUTPUT_BYTES)
    }
    const closed = others.map((stream) => new Promise((resolve) => stream.on('error', () => {}).once('close', resolve)))
    for (const stream of others) stream.close(8)
    await Promise.all(closed)
    await expect.poll(async () => (await info()).openStreams, { timeout: 20_000 }).toBeLessThanOrEqual(1)
  })

  it('moves bulk both ways at once, with readers that stall', { timeout: 60_000 }, async () => {
    const bytes = 32 * 1024 * 1024
    const file = join(home, 'bulk')
    writeFileSync(file, Buffer.alloc(bytes))
    const content = (path: string) => `/files/content?path=${encodeURIComponent(path)}`
    const downloads = Array.from({ length: 8 }, () => link.request({ ':path': content(file) }, { endStream: true }))
    await Promise.all(downloads.map((stream) => new Promise((resolve) => stream.once('response', resolve))))

    const path = `${content(join(home, 'up'))}&upload=up-0123456789abcdef&offset=0&size=${bytes}`
    const upload = link.request({ ':method': 'PUT', ':path': path }, { endStream: false })
    const acknowledged = answer(upload)
    upload.end(Buffer.alloc(bytes))
    expect((await acknowledged).toString('latin1')).toContain('"committed":true')
    expect(link.alive).toBe(true)
    for (const stream of downloads) stream.on('error', () => {}).close(8)
  })
})
