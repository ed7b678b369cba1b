import { randomBytes, randomInt } from 'node:crypto'
import { CoppiceError } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Coppice } from './coppice.ts'
import type { Sandbox } from './sandbox.ts'
import { exited, FakeGateway } from './testing/fake-gateway.ts'

const MiB = 1024 * 1024

let gateway: FakeGateway
let client: Coppice
let sandbox: Sandbox

beforeEach(async () => {
  gateway = await new FakeGateway().start()
  client = new Coppice({ url: gateway.url, token: gateway.token, boundMs: 2_000, stallMs: 200 })
  sandbox = client.sandboxes.get('sb-test')
})
afterEach(async () => {
  client.close()
  await gateway.kill()
})

async function* inPieces(bytes: Buffer) {
  for (let at = 0; at < bytes.length; ) {
    const end = at + randomInt(1, 100_000)
    yield bytes.subarray(at, end)
    at = end
  }
}

describe('an upload', () => {
  it.each<[string, (bytes: Buffer) => Parameters<Sandbox['files']['write']>[1]]>([
    ['a buffer', (bytes) => bytes],
    ['a stream of unknown length', inPieces],
  ])('of %s arrives whole, each byte once, over connections that break anywhere', async (_, source) => {
    const bytes = randomBytes(3 * MiB)
    for (let at = 0; at < 12; at += 1) gateway.faults.push({ cutBodyAfter: randomInt(0, 600_000) })
    await sandbox.files.write('/a', source(bytes))
    expect(gateway.files.get('/a')?.equals(bytes)).toBe(true)
    expect(gateway.uploads.size).toBe(1)
  })

  it('arrives whole when bytes that were under way arrive after the next connection was opened', async () => {
    const bytes = randomBytes(2 * MiB)
    for (let at = 0; at < 8; at += 1) gateway.faults.push({ cutBodyAfter: randomInt(100_000, 400_000), late: 60_000 })
    await sandbox.files.write('/a', bytes)
    expect(gateway.files.get('/a')?.equals(bytes)).toBe(true)
  })

  it('is asked about when only the word of its end was lost, and not sent again', async () => {
    gateway.faults.push({ cutAfter: 3 })
    await sandbox.files.write('/a', 'hello')
    expect(gateway.files.get('/a')?.toString()).toBe('hello')
    expect(gateway.requests.filter((line) => line.startsWith('PUT'))).toHaveLength(1)
  })

  it('of nothing makes an empty file', async () => {
    await sandbox.files.write('/empty', '')
    expect(gateway.files.get('/empty')?.length).toBe(0)
  })

  it('goes on over a session that the gateway lost', async () => {
    const lost = new CoppiceError('unavailable', 'session_lost', 'The session broke.')
    gateway.faults.push({ cutBodyAfter: 70_000 }, { error: lost }, { error: lost })
    const bytes = randomBytes(MiB)
    await sandbox.files.write('/a', bytes)
    expect(gateway.files.get('/a')?.equals(bytes)).toBe(true)
  })

  it('fails typed and leaves the target when what had arrived was forgotten', async () => {
    gateway.faults.push({ cutBodyAfter: 1.5 * MiB })
    async function* source() {
      yield randomBytes(MiB)
      await expect.poll(() => [...gateway.uploads.values()][0]?.acknowledged).toBe(MiB)
      await new Promise((resolve) => setTimeout(resolve, 50))
      gateway.uploads.clear()
      yield randomBytes(MiB)
    }
    const call = sandbox.files.write('/a', source())
    await expect(call).rejects.toMatchObject({ reason: 'bytes_forgotten' })
    expect(gateway.files.has('/a')).toBe(false)
  })

  it.each([3, 7])('of a source that says %i bytes and gives 5 fails, the target untouched', async (size) => {
    async function* source() {
      yield 'hello'
    }
    await expect(sandbox.files.write('/a', source(), { size })).rejects.toMatchObject({ reason: 'size_mismatch' })
    expect(gateway.files.has('/a')).toBe(false)
  })

  it('of a source that fails says why, the target untouched', async () => {
    async function* source() {
      yield 'hello'
      throw new Error('the disk is on fire')
    }
    const write = sandbox.files.write('/a', source())
    await expect(write).rejects.toMatchObject({ code: 'cancelled', reason: 'source_failed' })
    expect(gateway.files.has('/a')).toBe(false)
  })

  it('fails within the bound when the gateway stays away', async () => {
    async function* source() {
      yield randomBytes(100_000)
      await expect.poll(() => gateway.uploads.size).toBe(1)
      await gateway.kill()
      yield randomBytes(100_000)
    }
    await expect(sandbox.files.write('/a', source())).rejects.toMatchObject({
      code: 'unavailable',
      facts: { boundMs: 2_000 },
    })
    await gateway.start()
  })
})

describe('standard input', () => {
  it('arrives once and in order over connections that break anywhere', async () => {
    gateway.program = () => ({ output: [], result: undefined })
    const exec = await sandbox.spawn(['x'], { stdin: 'stream' })
    for (let at = 0; at < 10; at += 1) gateway.faults.push({ cutBodyAfter: randomInt(0, 300_000) })
    const bytes = randomBytes(2 * MiB)
    for await (const piece of inPieces(bytes)) await exec.stdin.write(piece)
    await exec.stdin.end()
    const [taken] = gateway.execs.values()
    expect(taken?.stdin.bytes.equals(bytes)).toBe(true)
    expect(taken?.stdin.ended).toBe(true)
    expect(exec.stdin.acknowledged).toBe(bytes.length)
    exec.detach()
  })

  it('holds a bounded number of bytes for a program that does not read', async () => {
    gateway.program = () => ({ output: [], result: undefined })
    const exec = await sandbox.spawn(['x'], { stdin: 'stream' })
    await gateway.kill()
    let written = 0
    const writing = (async () => {
      for (let at = 0; at < 100; at += 1) {
        await exec.stdin.write(randomBytes(100_000))
        written += 100_000
      }
    })()
    writing.catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(written).toBeLessThan(5 * MiB)
    exec.detach()
    await expect(writing).rejects.toMatchObject({ reason: 'detached' })
    await gateway.start()
  })

  it('is given to exec as a whole, many small writes together', async () => {
    gateway.program = () => ({ output: [], result: undefined })
    const call = sandbox.exec(['x'], { stdin: Array.from({ length: 10_000 }, (_, at) => `${at}\n`) })
    await expect.poll(() => [...gateway.execs.values()][0]?.stdin.ended).toBe(true)
    const [exec] = gateway.execs.values()
    expect(exec?.stdin.bytes.toString()).toBe(Array.from({ length: 10_000 }, (_, at) => `${at}\n`).join(''))
    if (exec) exec.result = exited(0, 0, 0)
    expect((await call).exitCode).toBe(0)
  })

  it('that the program does not want is no failure of the exec', async () => {
    const closed = new CoppiceError('failed_precondition', 'stdin_closed', 'No more.', { facts: { acknowledged: 0 } })
    gateway.program = () => ({ output: [], result: undefined })
    gateway.faults.push({}, { error: closed })
    const call = sandbox.exec(['x'], { stdin: 'unwanted' })
    await expect.poll(() => gateway.requests.filter((line) => line.endsWith('/stdin')).length).toBe(1)
    const [exec] = gateway.execs.values()
    if (exec) exec.result = exited(5, 0, 0)
    expect((await call).exitCode).toBe(5)
  })

  it('is refused by name for an exec that was started without', async () => {
    const exec = await sandbox.spawn(['x'])
    expect(() => exec.stdin).toThrow(expect.objectContaining({ reason: 'no_stdin' }))
  })
})

describe('a download', () => {
  it('gives each byte once over connections that break anywhere', async () => {
    const bytes = randomBytes(2 * MiB)
    gateway.files.set('/a', bytes)
    for (let at = 0; at < 10; at += 1) gateway.faults.push({ cutAfter: randomInt(0, 400_000) })
    expect((await sandbox.files.read('/a')).equals(bytes)).toBe(true)
  })

  it('fails typed when the file changed meanwhile', async () => {
    gateway.files.set('/a', randomBytes(MiB))
    gateway.faults.push({ stallAfter: 1000 })
    const stream = sandbox.files.readStream('/a')
    stream.once('data', () => {
      gateway.files.set('/a', randomBytes(MiB + 1))
      void gateway.kill().then(() => gateway.start())
    })
    const reading = (async () => {
      for await (const _ of stream);
    })()
    await expect(reading).rejects.toMatchObject({ code: 'conflict', reason: 'file_changed', facts: { offset: 1000 } })
  })

  it('of a file that is not there is not_found', async () => {
    await expect(sandbox.files.read('/missing')).rejects.toMatchObject({ code: 'not_found' })
  })

  it('is bounded', async () => {
    gateway.files.set('/a', randomBytes(1000))
    await expect(sandbox.files.read('/a', { maxBytes: 999 })).rejects.toMatchObject({ reason: 'file_too_large' })
  })
})
