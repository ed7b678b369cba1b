import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FaultRegistry, makeBusyboxArchive, writeLayout } from '@coppice/images/testing'
import { homeAt } from '@coppice/protocol/home'
import { Coppice } from '@coppice/sdk'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { CoppiceCommand } from '../support/command.ts'
import { openWorld, type World } from '../support/world.ts'

const MiB = 1024 ** 2

let world: World
let dir: string
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-archives-'))
  world = await openWorld()
})
afterAll(async () => {
  await world?.dispose()
  rmSync(dir, { recursive: true, force: true })
})

const store = () => homeAt(world.gateway.home).store
const blobs = () => readdirSync(join(store(), 'blobs/sha256'))

/** Bytes that the gateway has read so far, from its connections and files. */
function readByGateway(): number {
  return Number(/rchar: ([0-9]+)/.exec(readFileSync(`/proc/${world.gateway.pid}/io`, 'utf8'))?.[1])
}

/** Bytes that the gateway reads while `work` goes on. */
async function reading<T>(work: () => Promise<T>): Promise<{ result: T; read: number }> {
  const before = readByGateway()
  const result = await work()
  return { result, read: readByGateway() - before }
}

it('an archive is sent once, and again when one byte of it has changed', async () => {
  const file = await makeBusyboxArchive(join(dir, 'app.tar'))
  const pad = Buffer.alloc(64 * MiB)
  mkdirSync(join(dir, 'more'))
  writeFileSync(join(dir, 'more/pad'), pad)
  execFileSync('tar', ['-rf', file, '-C', dir, 'more'])
  const cli = new CoppiceCommand(world.gateway.home)
  const create = () => cli.run(['create', '--memory', '512m', '--from', file])
  const first = await reading(create)
  expect(first.result).toMatchObject({ code: 0, stderr: expect.stringContaining(`archive ${file}\n`) })
  expect(first.read).toBeGreaterThan(pad.length)

  const second = await reading(create)
  const said = `archive ${file}, imported before: not sent again\n`
  expect(second.result).toMatchObject({ code: 0, stderr: expect.stringContaining(said) })
  expect(second.read).toBeLessThan(16 * MiB)
  const imported = await cli.run(['image', 'import', file, '--name', 'other'])
  expect(imported.stderr).toContain('imported before: not sent again')
  const digest = imported.stdout.trim()
  const { atime, mtime } = statSync(file)
  const bytes = readFileSync(file)
  bytes[bytes.length - 32 * MiB] = 1
  writeFileSync(file, bytes)
  utimesSync(file, atime, mtime)
  const changed = await cli.run(['image', 'import', file])
  expect(changed.code).toBe(0)
  expect(changed.stderr).not.toContain('imported before')
  expect(changed.stdout.trim()).not.toBe(digest)
})

it('an import whose gateway was killed has no image, and writes what was whole only once', async () => {
  const layers = Array.from({ length: 3 }, () => ({ tar: layerOf(80 * MiB) }))
  await writeLayout(join(dir, 'layout'), [{ layers, name: 'killed:1' }])
  const file = join(dir, 'layout.tar')
  execFileSync('tar', ['--sort=name', '-cf', file, '-C', join(dir, 'layout'), 'oci-layout', 'index.json', 'blobs'])
  const bytes = readFileSync(file)
  const there = new Set(blobs())
  async function* silentAtLast() {
    yield bytes.subarray(0, 200 * MiB)
    await new Promise(() => {})
  }
  const cut = world.client.images.import(silentAtLast()).catch((error: unknown) => error)
  const added = () => blobs().filter((name) => !there.has(name))
  await world.until(() => added().length >= 2, 'two layers to be whole', 60_000)
  await world.gateway.kill()
  expect(await cut).toBeInstanceOf(Error)
  const kept = added().reduce((sum, name) => sum + statSync(join(store(), 'blobs/sha256', name)).size, 0)
  expect(kept).toBeGreaterThan(160 * MiB)

  await world.gateway.start()
  const client = new Coppice({ home: world.gateway.home })
  expect((await client.images.list()).map(({ name }) => name)).not.toContain('killed:1')
  const image = await client.images.importPath(file)
  expect(image.facts.bytes).toBe(image.sizeBytes - kept)
  expect(image.name).toBe('killed:1')
  client.close()
})

it('a pull whose gateway was killed has no image, and goes on where it was', async () => {
  const registry = await FaultRegistry.start()
  try {
    registry.add('killed/app:1', [{ layers: [{ tar: layerOf(240 * MiB) }] }])
    const ref = `${registry.host}/killed/app:1`
    // The layer comes in part, and then nothing more.
    const isLayer = (path: string) => /\/blobs\//.test(path) && registry.blobs.get(path.split('/').at(-1) ?? '')
    registry.fault = ({ path, range }) => {
      const blob = isLayer(path)
      if (!blob || blob.length < MiB) return undefined
      return range ? { hang: true } : { cutAfter: 150 * MiB }
    }
    const client = new Coppice({ home: world.gateway.home })
    client.images.pull(ref).catch(() => {})
    await world.until(() => partialBytes() >= 100 * MiB, 'most of the layer', 60_000)
    await world.gateway.kill()
    client.close()
    const kept = partialBytes()

    registry.fault = () => undefined
    await world.gateway.start()
    const after = new Coppice({ home: world.gateway.home })
    expect((await after.images.list()).map(({ name }) => name)).not.toContain(ref)
    const image = await after.images.pull(ref)
    expect(image.facts.bytes).toBeLessThanOrEqual(image.sizeBytes - kept)
    expect(readdirSync(join(store(), 'partial'))).toEqual([])
    after.close()
  } finally {
    await registry.stop()
  }
})

function partialBytes(): number {
  const folder = join(store(), 'partial')
  return readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0)
}

/** A layer of one file of bytes that nothing can pack. */
function layerOf(bytes: number): Buffer {
  const folder = mkdtempSync(join(dir, 'layer-'))
  writeFileSync(join(folder, 'noise'), randomBytes(bytes))
  return execFileSync('tar', ['-c', '-C', folder, 'noise'], { maxBuffer: 2 * bytes })
}
