import { randomBytes, randomInt } from 'node:crypto'
import { CoppiceError } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Coppice } from './coppice.ts'
import type { Sandbox } from './sandbox.ts'
import { exited, FakeGateway, type Fault } from './testing/fake-gateway.ts'

let gateway: FakeGateway
let client: Coppice
let sandbox: Sandbox

beforeEach(async () => {
  gateway = await new FakeGateway().start()
  client = new Coppice({ url: gateway.url, token: gateway.token, boundMs: 2_000, stallMs: 150 })
  sandbox = client.sandboxes.get('sb-test')
})
afterEach(async () => {
  client.close()
  await gateway.kill()
})

/** Output in pieces of random size on both streams. */
function randomOutput(bytes: number) {
  const output: { stream: 1 | 2; bytes: Buffer }[] = []
  for (let left = bytes; left > 0; ) {
    const piece = randomBytes(Math.min(left, randomInt(1, 5_000)))
    output.push({ stream: randomInt(2) === 0 ? 1 : 2, bytes: piece })
    left -= piece.length
  }
  const of = (wanted: number) =>
    Buffer.concat(output.filter(({ stream }) => stream === wanted).map((piece) => piece.bytes))
  return { output, stdout: of(1), stderr: of(2) }
}

/** Starts an exec and reads all that it writes. */
async function readAll() {
  const exec = await sandbox.spawn(['x'])
  const read = { stdout: [] as Buffer[], stderr: [] as Buffer[], gaps: [] as unknown[], next: 0 }
  for await (const chunk of exec.output) {
    expect(chunk.offset).toBe(read.next)
    if (chunk.stream === 'gap') {
      read.gaps.push(chunk.gap)
      read.next = chunk.gap.to
    } else {
      read[chunk.stream].push(chunk.bytes)
      read.next += chunk.bytes.length
    }
  }
  return { ...read, stdout: Buffer.concat(read.stdout), stderr: Buffer.concat(read.stderr), result: await exec.result }
}

describe('an exec whose connection breaks', () => {
  it('gives each byte of output once, whatever byte of the answer the cut falls on', async () => {
    const made = randomOutput(60_000)
    gateway.program = () => ({ output: made.output, result: exited(7, made.stdout.length, made.stderr.length) })
    for (let at = 0; at < 20; at += 1) gateway.faults.push({ cutAfter: randomInt(0, 20_000) })
    const read = await readAll()
    expect(read.stdout.equals(made.stdout)).toBe(true)
    expect(read.stderr.equals(made.stderr)).toBe(true)
    expect(read.result).toMatchObject({ exitCode: 7, gaps: [] })
    expect(gateway.execs.size).toBe(1)
  })

  it('survives a gateway that is killed and started again', async () => {
    const made = randomOutput(10_000)
    gateway.program = () => ({ output: made.output, result: undefined })
    const reading = readAll()
    await expect.poll(() => gateway.execs.size).toBe(1)
    await gateway.kill()
    const [exec] = gateway.execs.values()
    if (exec) exec.result = exited(3, made.stdout.length, made.stderr.length)
    await gateway.start()
    const read = await reading
    expect(read.stdout.equals(made.stdout)).toBe(true)
    expect(read.result.exitCode).toBe(3)
  })

  it('notices a connection that fell silent and opens another', async () => {
    const made = randomOutput(5_000)
    gateway.program = () => ({ output: made.output, result: exited(0, made.stdout.length, made.stderr.length) })
    gateway.faults.push({ stallAfter: 3_000 }, { stallAfter: 0 })
    expect((await readAll()).stdout.equals(made.stdout)).toBe(true)
  })

  it('cuts off what it has already seen', async () => {
    const made = randomOutput(20_000)
    gateway.program = () => ({ output: made.output, result: exited(0, made.stdout.length, made.stderr.length) })
    gateway.faults.push({ cutAfter: 9_000 }, { overlap: 3_333, cutAfter: 14_000 }, { overlap: 100_000 })
    const read = await readAll()
    expect(read.stdout.equals(made.stdout)).toBe(true)
    expect(read.stderr.equals(made.stderr)).toBe(true)
  })

  it('never starts a command again once it is known to run', async () => {
    gateway.program = () => ({ output: [], result: undefined })
    gateway.faults.push({ stallAfter: 400 })
    const exec = await sandbox.spawn(['x'])
    gateway.execs.clear()
    await expect(exec.result).rejects.toMatchObject({ reason: 'exec_not_found', facts: { execId: exec.id, offset: 0 } })
    expect(gateway.requests.filter((line) => line.startsWith('POST'))).toHaveLength(1)
  })

  it('fails typed, with how far it got, when nothing gets through within the bound', async () => {
    gateway.program = () => ({ output: [{ stream: 1, bytes: Buffer.from('partial') }], result: undefined })
    const exec = await sandbox.spawn(['x'], { boundMs: 300 })
    await expect.poll(() => exec.offset).toBe(7)
    await gateway.kill()
    const startedAt = Date.now()
    await expect(exec.result).rejects.toMatchObject({
      code: 'unavailable',
      facts: { execId: exec.id, offset: 7, boundMs: 300 },
    })
    // Not by the bound that there is without one of its own.
    expect(Date.now() - startedAt).toBeLessThan(10_000)
    await gateway.start()
  })
})

describe('output that is missing', () => {
  it('is an error when nobody said so', async () => {
    const made = randomOutput(5_000)
    gateway.program = () => ({ output: made.output, result: exited(0, made.stdout.length, made.stderr.length) })
    gateway.faults.push({ skip: 100 })
    await expect(readAll()).rejects.toMatchObject({ reason: 'offset_hole', facts: { offset: 0, got: 100 } })
  })

  it('is an event and stands in the result when the sandbox said so', async () => {
    const made = randomOutput(5_000)
    gateway.program = () => ({ output: made.output, result: exited(0, made.stdout.length, made.stderr.length) })
    gateway.faults.push({ skip: 100, gap: true })
    const read = await readAll()
    expect(read.gaps).toEqual([{ from: 0, to: 100, reason: 'evicted' }])
    expect(read.result.gaps).toEqual(read.gaps)
  })

  it('is an error when the result comes before the end of the output', async () => {
    gateway.program = () => ({ output: [{ stream: 1, bytes: Buffer.from('ab') }], result: exited(0, 3, 0) })
    await expect(sandbox.exec(['x'])).rejects.toMatchObject({ reason: 'output_incomplete' })
  })
})

describe('exec', () => {
  it.each<[string, Fault['error']]>([
    ['program_not_found', new CoppiceError('not_found', 'program_not_found', 'There is no such program.')],
    ['exec_lost', new CoppiceError('unavailable', 'exec_lost', 'Lost.', { retryable: false })],
  ])('rejects with %s, which the gateway said', async (reason, error) => {
    gateway.faults.push(error ? { error } : {})
    await expect(sandbox.exec(['x'])).rejects.toMatchObject({ reason })
    expect(gateway.requests).toHaveLength(1)
  })

  it('says at once that no gateway is there, when it never was', async () => {
    await gateway.kill()
    await expect(sandbox.exec(['x'])).rejects.toMatchObject({ code: 'unavailable', reason: 'connection_failed' })
    await gateway.start()
  })

  it('waits for a gateway that was there before', async () => {
    await sandbox.exec(['x'])
    await gateway.kill()
    const call = sandbox.exec(['x'])
    await gateway.start()
    expect(await call).toMatchObject({ exitCode: 0 })
  })

  it('is an error when the output is larger than may be held, and a fact when truncating was asked for', async () => {
    gateway.program = () => ({ output: [{ stream: 1, bytes: Buffer.from('abcdef') }], result: exited(4, 6, 0) })
    await expect(sandbox.exec(['x'], { maxOutputBytes: 4 })).rejects.toMatchObject({
      reason: 'output_too_large',
      facts: { result: { exitCode: 4 } },
    })
    const cut = await sandbox.exec(['x'], { maxOutputBytes: 4, overflow: 'truncate' })
    expect(cut).toMatchObject({ stdout: 'abcd', truncated: true, exitCode: 4, stdoutBytes: 6 })
  })

  it('finds the exec that ran under its key before, and its output by that id', async () => {
    gateway.program = () => ({ output: [{ stream: 1, bytes: Buffer.from('once') }], result: exited(0, 4, 0) })
    const first = await sandbox.exec(['x'], { key: 'mine' })
    gateway.faults.push({ cutAfter: 500 })
    const second = await sandbox.exec(['x'], { key: 'mine' })
    expect(second.id).toBe(first.id)
    expect(second.stdout).toBe('once')
  })

  it('kills the command when it is aborted', async () => {
    gateway.program = () => ({ output: [], result: undefined })
    const controller = new AbortController()
    const call = sandbox.exec(['x'], { signal: controller.signal })
    call.catch(() => {})
    await expect.poll(() => gateway.execs.size).toBe(1)
    controller.abort()
    await expect(call).rejects.toMatchObject({ code: 'cancelled' })
    expect(gateway.requests.at(-1)).toMatch(/^POST .*\/signal$/)
  })

  it('reuses its connection', async () => {
    for (let at = 0; at < 5; at += 1) await sandbox.exec(['x'])
    expect(gateway.connections).toBe(1)
  })
})

describe('an exec handle', () => {
  it('lets output go when only the result is asked for', async () => {
    const made = randomOutput(3_000_000)
    gateway.program = () => ({ output: made.output, result: exited(0, made.stdout.length, made.stderr.length) })
    const exec = await sandbox.spawn(['x'])
    expect((await exec.result).exitCode).toBe(0)
    expect(() => exec.output[Symbol.asyncIterator]()).toThrow(expect.objectContaining({ reason: 'output_taken' }))
  })

  it('takes no more than its reader asks for', async () => {
    const made = randomOutput(8_000_000)
    gateway.program = () => ({ output: made.output, result: exited(0, made.stdout.length, made.stderr.length) })
    const exec = await sandbox.spawn(['x'])
    const reader = exec.output[Symbol.asyncIterator]()
    await reader.next()
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(exec.offset).toBeLessThan(2_000_000)
    let next = await reader.next()
    while (!next.done) next = await reader.next()
    expect(exec.offset).toBe(8_000_000)
  })

  it('lets go of its exec, which goes on', async () => {
    gateway.program = () => ({ output: [{ stream: 1, bytes: Buffer.from('x') }], result: undefined })
    const exec = await sandbox.spawn(['x'])
    exec.detach()
    await expect(exec.result).rejects.toMatchObject({ code: 'cancelled', reason: 'detached' })
    const attached = await sandbox.attach(exec.id)
    const reader = attached.output[Symbol.asyncIterator]()
    expect((await reader.next()).value).toMatchObject({ stream: 'stdout', offset: 0 })
    attached.detach()
  })
})
