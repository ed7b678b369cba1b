import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { closeSync, createReadStream, openSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { type TestImage, writeLayout } from '../testing/layout-builder.ts'
import { buildTar } from '../testing/tar-builder.ts'

const execute = promisify(execFile)
const none = Progress.none()
const MB = 1_000_000

describe('a store on a disk of 24 MiB', { timeout: 60_000 }, () => {
  let dir: string
  let disk: string
  let store: ImageStore

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-full-'))
    disk = join(dir, 'disk')
    await mkdir(disk)
    await execute('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', disk])
    store = await ImageStore.open(join(disk, 'store'))
  })
  afterEach(async () => {
    await execute('umount', ['--lazy', disk])
    await rm(dir, { recursive: true, force: true })
  })

  const noise = (bytes: number) => buildTar([{ name: 'noise', body: randomBytes(bytes) }])
  const free = () => {
    const { bavail, bsize } = statfsSync(disk)
    return bavail * bsize
  }
  const layout = async (name: string, ...layers: TestImage['layers']) => {
    await writeLayout(join(dir, name), [{ layers }])
    return join(dir, name)
  }
  const archive = async (name: string, bytes: Buffer) => {
    await writeFile(join(dir, name), bytes)
    return join(dir, name)
  }
  /** Takes every byte that is left. */
  const fill = () => {
    const file = openSync(join(disk, 'filler'), 'w')
    try {
      for (const size of [65536, 4096]) {
        for (;;) if (writeSync(file, Buffer.alloc(size)) < size) break
      }
    } catch {
      // That was the last one.
    } finally {
      closeSync(file)
    }
    expect(free()).toBe(0)
  }
  const refused = (needed: number) => ({
    code: 'resource_exhausted',
    reason: 'disk_full',
    retryable: true,
    facts: { neededBytes: expect.closeTo(needed, -5), freeBytes: expect.any(Number) },
    hint: expect.stringMatching(/^coppice image prune.*COPPICE_HOME/),
  })

  it('begins no import for which there is no room, from wherever it comes', async () => {
    const before = free()
    const folder = await layout('folder', { tar: noise(20 * MB) }, { tar: noise(10 * MB) })
    await expect(store.import(folder, {}, none)).rejects.toMatchObject(refused(30 * MB))
    const rootfs = await archive('rootfs.tar', noise(30 * MB))
    await expect(store.import(rootfs, {}, none)).rejects.toMatchObject(refused(30 * MB))
    const packed = await archive('rootfs.tar.gz', gzipSync(noise(30 * MB), { level: 0 }))
    await expect(store.import(packed, {}, none)).rejects.toMatchObject(refused(30 * MB))
    await execute('tar', ['-cf', join(dir, 'oci.tar'), '-C', folder, '.'])
    await expect(store.import(join(dir, 'oci.tar'), {}, none)).rejects.toMatchObject(refused(30 * MB))
    let read = 0
    async function* chunks() {
      const bytes = noise(30 * MB)
      for (let at = 0; at < bytes.length; at += 65536) {
        read = at
        yield bytes.subarray(at, at + 65536)
      }
    }
    await expect(store.importStream(chunks(), { sizeBytes: 30 * MB }, none)).rejects.toMatchObject(refused(30 * MB))
    expect(read).toBeLessThan(8 * MB)
    expect(free()).toBe(before)
  })

  it('imports again, and more, what it has already, however little room there is', async () => {
    const [first, second, third] = [noise(9 * MB), noise(4 * MB), noise(MB)]
    const small = await layout('small', { tar: first }, { tar: second })
    await store.import(small, { name: 'app' }, none)
    await execute('tar', ['-cf', join(dir, 'oci.tar'), '-C', small, '.'])
    expect(free()).toBeLessThan(12 * MB)
    await store.import(join(dir, 'oci.tar'), { name: 'again' }, none)
    await store.importStream(createReadStream(join(dir, 'oci.tar')), { name: 'streamed', sizeBytes: 13 * MB }, none)
    const more = await layout('more', { tar: first }, { tar: second }, { tar: third })
    const { transferred } = await store.import(more, { name: 'more' }, none)
    expect(transferred.bytes).toBeLessThan(1.1 * MB)
  })

  it('says so in the middle of what has no known size, and is as it was', async () => {
    const before = free()
    const failure = await store.importStream(forever(), { format: 'rootfs' }, none).catch((error) => error)
    expect(failure).toMatchObject({ code: 'resource_exhausted', reason: 'disk_full', retryable: true })
    expect(failure.hint).toMatch(/^coppice image prune/)
    expect((await store.list()).images).toEqual([])
    expect(free()).toBe(before)
    await store.import(await archive('small.tar', noise(MB)), { name: 'small' }, none)
  })

  it('refuses to unpack what is packed in more bytes than are free', async () => {
    await store.import(await layout('app', { tar: noise(14 * MB) }), { name: 'app' }, none)
    const image = await store.resolve('app')
    await expect(store.unpack(image, { uidBase: 1_000_000 }, none)).rejects.toMatchObject(refused(14 * MB))
  })

  it('says so when a layer has more in it than was known, and has nothing of it unpacked', async () => {
    const zeros = buildTar([{ name: 'zeros', body: Buffer.alloc(40 * MB) }])
    await store.import(await layout('bomb', { tar: zeros, packed: 'gzip' }), { name: 'bomb' }, none)
    const before = free()
    const image = await store.resolve('bomb')
    await expect(store.unpack(image, { uidBase: 1_000_000 }, none)).rejects.toMatchObject({ reason: 'disk_full' })
    expect(free()).toBe(before)
  })

  it('removes images when not a byte is left, and then has room', async () => {
    const one = await layout('one', { tar: noise(3 * MB) })
    const two = await layout('two', { tar: noise(3 * MB) })
    for (let round = 0; round < 2; round++) {
      await store.import(one, { name: 'one' }, none)
      await store.import(two, { name: 'two' }, none)
      fill()
      await expect(store.import(await archive('x.tar', noise(1000)), {}, none)).rejects.toMatchObject({
        reason: 'disk_full',
      })
      expect(await store.remove('one')).toMatchObject({ images: 1, blobs: 3 })
      expect((await store.list()).images.map(({ name }) => name)).toEqual(['two'])
      expect(free()).toBeGreaterThan(MB)
      await store.remove('two')
      rmSync(join(disk, 'filler'))
      await store.prune()
    }
    expect(await readdir(join(disk, 'store', 'blobs', 'sha256'))).toEqual([])
  })
})

/** A root file system that does not end. */
async function* forever(): AsyncGenerator<Buffer> {
  const file = buildTar([{ name: 'noise', body: randomBytes(MB) }]).subarray(0, -1024)
  for (;;) yield file
}
