import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createWriteStream, mkdirSync, rmSync, statfsSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { finished } from 'node:stream/promises'
import { buildTar } from '@coppice/images/testing'
import { Coppice } from '@coppice/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { GatewayProcess, makeHome, ROOT } from '../support/gateway-process.ts'

const MB = 1_000_000

/** More than the disk, and more than all buffers between a client and the store hold. */
const ARCHIVE_MB = 200

/** A root file system of noise, for as long as somebody reads. */
async function* rootfs(): AsyncGenerator<Buffer> {
  const file = buildTar([{ name: 'noise', body: randomBytes(MB) }])
  for (let count = 0; count < ARCHIVE_MB; count++) yield Buffer.from(file.subarray(0, -1024))
  yield Buffer.alloc(1024)
}

describe('a gateway whose store is on a disk of 32 MiB', () => {
  let gateway: GatewayProcess
  let client: Coppice
  let store: string

  beforeAll(async () => {
    gateway = new GatewayProcess(makeHome())
    store = join(gateway.home, 'store')
    mkdirSync(store)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', store])
    await gateway.start()
    client = new Coppice({ home: gateway.home })
  })
  afterAll(async () => {
    client?.close()
    await gateway.stop()
    execFileSync('umount', ['--lazy', store])
    await gateway.dispose()
  })

  const free = () => {
    const { bavail, bsize } = statfsSync(store)
    return bavail * bsize
  }
  const isThere = async () => {
    expect((await client.images.list()).map(({ name }) => name)).not.toContain('big')
    const small = buildTar([{ name: 'small', body: randomBytes(MB) }])
    await client.images.import(small, { name: 'small', format: 'rootfs' })
    await client.images.remove('small')
    await client.images.prune()
  }
  const full = { code: 'resource_exhausted', reason: 'disk_full', hint: expect.stringContaining('coppice image prune') }

  it('tells the SDK so when an upload of unknown size has filled it, and goes on', async () => {
    const before = free()
    const uploading = client.images.import(rootfs(), { name: 'big', format: 'rootfs' })
    await expect(uploading).rejects.toMatchObject(full)
    expect(free()).toBeGreaterThan(before - MB)
    await isThere()
  })

  it('tells the SDK both figures before an upload of known size has begun', async () => {
    let taken = 0
    async function* counted() {
      for await (const piece of rootfs()) {
        taken += piece.length
        yield piece
      }
    }
    const size = ARCHIVE_MB * (buildTar([{ name: 'noise', body: Buffer.alloc(MB) }]).length - 1024) + 1024
    const uploading = client.images.import(counted(), { name: 'big', format: 'rootfs', size })
    await expect(uploading).rejects.toMatchObject({
      ...full,
      facts: { neededBytes: size, freeBytes: expect.any(Number) },
    })
    expect(taken).toBeLessThan(size / 2)
    await isThere()
  })

  it('tells the command so, from a file and from a pipe', async () => {
    const file = join(gateway.home, 'big.tar')
    const out = createWriteStream(file)
    Readable.from(rootfs()).pipe(out)
    await finished(out)
    for (const command of [`image import ${file} --name big`, `image import - --name big < ${file}`]) {
      const child = spawn('sh', ['-c', `exec ${join(ROOT, 'bin/coppice')} ${command}`], {
        stdio: ['ignore', 'ignore', 'pipe'],
        env: { ...process.env, COPPICE_HOME: gateway.home },
      })
      const said = await text(child.stderr)
      expect(said).toContain('resource_exhausted/disk_full')
      expect(said).toContain('coppice image prune')
      expect(child.exitCode ?? 125).toBe(125)
    }
    rmSync(file)
    await isThere()
  })

  it.each([
    ['what is wrong with the disk', () => gateway.token, '"reason":"disk_full"'],
    ['what is wrong with them', () => 'nobody', '"reason":"bad_token"'],
  ])('tells clients that read nothing before they have sent everything %s', async (_, token, reason) => {
    const { hostname, port } = new URL(gateway.url)
    const socket = connect(Number(port), hostname)
    const send = (bytes: string | Buffer) =>
      new Promise<void>((resolve, reject) => socket.write(bytes, (error) => (error ? reject(error) : resolve())))
    await send(
      'POST /v1/images/import?name=big&format=rootfs HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n' +
        `Host: ${hostname}\r\nAuthorization: Bearer ${token()}\r\n\r\n`,
    )
    for await (const piece of rootfs()) {
      await send(`${piece.length.toString(16)}\r\n`)
      await send(piece)
      await send('\r\n')
    }
    await send('0\r\n\r\n')
    expect(await text(socket)).toContain(reason)
    await isThere()
  })
})
