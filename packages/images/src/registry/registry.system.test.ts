import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ImageStore } from '../image-store.ts'
import { writeBigDockerArchive } from '../testing/big-docker-archive.ts'
import { RegistryServer } from '../testing/registry-server.ts'

const execute = promisify(execFile)
const none = Progress.none()
const MiB = 1024 ** 2

/**
 * Resident memory above an idle store that an import may take, whatever the size of the image: the thread that does the work
 * (35 MiB with its code, which the first event comes from), and buffers that the garbage collectors of two threads let lie.
 */
const CEILING_BYTES = 128 * MiB

describe('with a real registry, and skopeo as judge', { timeout: 300_000 }, () => {
  let missing: string | undefined
  let registry: RegistryServer
  let dir: string
  let archive: string
  let diffIds: string[]
  const login = { username: 'user', password: 'secret' }
  const skopeo = async (...args: string[]) => (await execute('skopeo', ['--insecure-policy', ...args])).stdout
  const remote = (name: string) => `docker://${registry.host}/${name}`
  const toRegistry = ['-q', '--dest-tls-verify=false', '--dest-creds=user:secret']
  const fromRegistry = ['--tls-verify=false', '--creds=user:secret']
  const openStore = (name: string) =>
    ImageStore.open(join(dir, name), { registry: { credentials: login, retryMs: 20 } })
  const remoteDiffIds = async (name: string) =>
    JSON.parse(await skopeo('inspect', '--config', ...fromRegistry, remote(name))).rootfs.diff_ids

  beforeAll(async () => {
    missing = await RegistryServer.missing()
    if (missing) return
    dir = await mkdtemp(join(tmpdir(), 'coppice-registry-test-'))
    registry = await RegistryServer.start({ login })
    archive = join(dir, 'small.tar')
    diffIds = writeBigDockerArchive(archive, { layers: 3, layerBytes: 5_000_001, name: 'small:1' })
  })
  afterAll(async () => {
    if (missing) return
    await registry.stop()
    await rm(dir, { recursive: true, force: true })
  })
  beforeEach((ctx) => {
    if (missing) ctx.skip(missing)
  })

  it.each([
    ['schema 2, gzip', ['--format', 'v2s2']],
    ['OCI, gzip', ['--format', 'oci']],
    ['OCI, zstd', ['--format', 'oci', '--dest-compress-format', 'zstd']],
  ])('what skopeo pushed comes whole: %s', async (kind, options) => {
    const name = `from/skopeo:${kind.replaceAll(/[^a-z0-9]+/gi, '-').toLowerCase()}`
    await skopeo('copy', ...toRegistry, ...options, `docker-archive:${archive}`, remote(name))
    const store = await openStore(`pulled-${name.replaceAll(/[^a-z0-9]/gi, '-')}`)
    const image = await store.import(remote(name), {}, none)
    const { Digest } = JSON.parse(await skopeo('inspect', ...fromRegistry, remote(name)))
    expect(image).toMatchObject({ digest: Digest, layers: 3, name: `${registry.host}/${name}` })
    expect((await store.resolve(image.name)).diffIds).toEqual(diffIds)
    expect(image.transferred.bytes).toBe(image.sizeBytes)
    await store.export(image.name, join(dir, 'again.tar'), none)
    await skopeo('copy', '-q', `oci-archive:${join(dir, 'again.tar')}`, `dir:${join(dir, `judged-${image.digest}`)}`)
  })

  it('what is pushed skopeo reads and copies, and only what is new is sent', async () => {
    const store = await openStore('pushing')
    await store.import(archive, { name: 'app' }, none)
    const first = await store.push('app', `${registry.host}/pushed/app:1`, {}, none)
    expect(first).toMatchObject({ uploaded: 4, present: 0, mounted: 0 })
    expect(JSON.parse(await skopeo('inspect', ...fromRegistry, remote('pushed/app:1')))).toMatchObject({
      Digest: first.digest,
      Architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    })
    expect(await remoteDiffIds('pushed/app:1')).toEqual(diffIds)
    await skopeo(
      'copy',
      '-q',
      '--src-tls-verify=false',
      '--src-creds=user:secret',
      remote('pushed/app:1'),
      `dir:${join(dir, 'copied')}`,
    )
    expect(await store.push('app', `${registry.host}/pushed/app:2`, {}, none)).toMatchObject({
      uploaded: 0,
      present: 4,
    })
    // The registry itself takes the blobs over from the repository that the store remembers.
    expect(await store.push('app', `${registry.host}/elsewhere/app:1`, {}, none)).toMatchObject({
      mounted: 4,
      uploaded: 0,
    })
    const other = await openStore('pulling')
    expect((await other.import(remote('elsewhere/app:1'), {}, none)).digest).toBe(first.digest)
  })

  it('is pushed in pieces too', async () => {
    const store = await openStore('pieces')
    await store.import(archive, { name: 'app' }, none)
    const options = { registry: { uploadChunkBytes: 2_000_000 } }
    await store.push('app', `${registry.host}/pieces/app:1`, options, none)
    expect(await remoteDiffIds('pieces/app:1')).toEqual(diffIds)
  })

  it('says who asks, and says so when nobody does', async () => {
    const anonymous = { registry: { credentials: 'anonymous' as const } }
    const store = await openStore('anonymous')
    await store.import(archive, { name: 'app' }, none)
    const refused = { code: 'unauthenticated', reason: 'registry_unauthenticated' }
    await expect(store.import(remote('from/skopeo:oci-gzip'), anonymous, none)).rejects.toMatchObject(refused)
    await expect(store.push('app', `${registry.host}/x:1`, anonymous, none)).rejects.toMatchObject(refused)
    await mkdir(join(dir, 'docker'))
    const auth = Buffer.from('user:secret').toString('base64')
    await writeFile(join(dir, 'docker/config.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }))
    const plain = await ImageStore.open(join(dir, 'anonymous'), { registry: { dockerConfig: join(dir, 'docker') } })
    await plain.push('app', `${registry.host}/x:1`, {}, none)
  })

  it('what is written as docker archive and as OCI folder skopeo reads', async () => {
    const store = await openStore('writing')
    await store.import(archive, { name: 'app:1' }, none)
    await store.export('app:1', `docker-archive:${join(dir, 'docker.tar')}:their/name:2`, none)
    await store.export('app:1', `oci:${join(dir, 'layout')}:one`, none)
    await store.export('app:1', `oci:${join(dir, 'layout')}:two`, none)
    const sources = [
      `docker-archive:${join(dir, 'docker.tar')}:their/name:2`,
      `oci:${join(dir, 'layout')}:one`,
      `oci:${join(dir, 'layout')}:two`,
    ]
    for (const source of sources) {
      expect(JSON.parse(await skopeo('inspect', '--config', source)).rootfs.diff_ids).toEqual(diffIds)
      await skopeo('copy', '-q', source, `oci:${await mkdtemp(join(dir, 'judge-'))}`)
    }
    await expect(store.export('app:1', `oci:${dir}`, none)).rejects.toMatchObject({ reason: 'not_a_layout' })
    // And layers that are packed, with what Docker knows and with what it does not.
    for (const format of ['gzip', 'zstd']) {
      const folder = `oci:${join(dir, `packed-${format}`)}:x`
      await skopeo('copy', '-q', '--dest-compress-format', format, `docker-archive:${archive}`, folder)
      await store.import(folder, { name: 'packed' }, none)
      const out = `docker-archive:${join(dir, `${format}.tar`)}`
      await store.export('packed', out, none)
      expect(JSON.parse(await skopeo('inspect', '--config', out)).rootfs.diff_ids).toEqual(diffIds)
      await skopeo('copy', '-q', out, `dir:${await mkdtemp(join(dir, 'judge-'))}`)
    }
  })

  it('says that the disk is full, and leaves nothing on it', async () => {
    await skopeo('copy', ...toRegistry, `docker-archive:${archive}`, remote('full:1'))
    const small = join(dir, 'small-disk')
    await mkdir(small)
    await execute('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', small])
    try {
      const store = await openStore('small-disk')
      const imports = [
        () => store.import(archive, {}, none),
        () => store.importStream(createReadStream(archive), {}, none),
        () => store.import(remote('full:1'), {}, none),
      ]
      for (const bring of imports) {
        await expect(bring()).rejects.toMatchObject({
          code: 'resource_exhausted',
          reason: 'disk_full',
          retryable: true,
          facts: { neededBytes: expect.any(Number), freeBytes: expect.any(Number) },
          hint: expect.stringContaining('coppice image prune'),
        })
        expect((await store.list()).images).toEqual([])
        await store.prune()
        expect(await bytesIn(small)).toBeLessThan(2 * MiB)
      }
    } finally {
      await execute('umount', ['--lazy', small])
    }
  })

  describe('and an image of more than 1 GiB', () => {
    const script = new URL('../testing/import-once.ts', import.meta.url).pathname
    let big: string

    beforeAll(async () => {
      if (missing) return
      big = join(dir, 'big.tar')
      writeBigDockerArchive(big, { layers: 2, layerBytes: 544 * MiB, name: 'big:1' })
      await mkdir(join(dir, 'docker-big'))
      const auth = Buffer.from('user:secret').toString('base64')
      await writeFile(join(dir, 'docker-big/config.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }))
    })

    const start = (store: string, source: string) =>
      spawn(process.execPath, [script, join(dir, store), source], {
        stdio: ['pipe', 'pipe', 'inherit'],
        env: { ...process.env, DOCKER_CONFIG: join(dir, 'docker-big') },
      })

    /** Runs an import to its end in a process of its own. What it says, and how its memory grew. */
    const measured = async (child: ChildProcess) => {
      let said = ''
      let idle = 0
      let peak = 0
      const look = async () => {
        const status = await readFile(`/proc/${child.pid}/status`, 'utf8').catch(() => '')
        return Number(/VmRSS:\s+([0-9]+)/.exec(status)?.[1] ?? 0) * 1024
      }
      child.stdout?.on('data', async (chunk: Buffer) => {
        said += chunk
        idle ||= Number(said.split('\n')[0])
        peak = Math.max(peak, await look())
      })
      const [code] = await once(child, 'close')
      expect(code).toBe(0)
      return { image: JSON.parse(said.trim().split('\n').at(-1) ?? ''), grown: peak - idle }
    }

    it('comes from a file, a stream and a registry, and goes there, in memory that does not grow with it', async () => {
      const grown: Record<string, number> = {}
      const fromFile = await measured(start('big-file', big))
      grown.file = fromFile.grown
      const child = start('big-stream', '-')
      createReadStream(big).pipe(child.stdin)
      const fromStream = await measured(child)
      grown.stream = fromStream.grown
      expect(fromStream.image.digest).toBe(fromFile.image.digest)
      const store = await openStore('big-file')
      await store.push('big:1', `${registry.host}/big:1`, {}, none)
      grown.registry = (await measured(start('big-registry', remote('big:1')))).grown
      for (const bytes of Object.values(grown)) expect(bytes).toBeLessThan(CEILING_BYTES)
    })

    it('that was killed in the middle goes on there, and nothing of it counts before', async () => {
      for (const source of [remote('big:1'), big]) {
        const name = `killed-${source === big ? 'file' : 'registry'}`
        const child = start(name, source)
        let dots = 0
        for await (const chunk of child.stdout) {
          dots += chunk.length
          if (dots > 60) break
        }
        child.kill('SIGKILL')
        await once(child, 'close')
        const store = await openStore(name)
        expect((await store.list()).images).toEqual([])
        const came = await bytesIn(join(dir, name, 'partial'), join(dir, name, 'blobs/sha256'))
        const image = await store.import(source, {}, none)
        const whole = (await (await openStore('big-file')).resolve('big:1')).digest
        expect(image.digest).toBe(whole)
        if (source !== big) expect(image.transferred.bytes).toBeLessThanOrEqual(image.sizeBytes - came + MiB)
        if (source !== big) expect(came).toBeGreaterThan(100 * MiB)
        expect(await readdir(join(dir, name, 'partial'))).toEqual([])
        await rm(join(dir, name), { recursive: true })
      }
    })
  })
})

/** Of the files in folders, and in what lies below them. */
async function bytesIn(...folders: string[]): Promise<number> {
  let bytes = 0
  for (const folder of folders) {
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size
    }
  }
  return bytes
}
