import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ExecInfo, FrameDecoder, FrameType } from '@coppice/protocol/wire'
import { afterEach, expect, test } from 'vitest'
import { eventually } from '../testing/eventually.ts'
import { TestSandbox, welcome } from '../testing/sandbox.ts'

/** What a slow machine may add to a bound, milliseconds. */
const ROOM_MS = 5_000

let sandbox: TestSandbox
afterEach(() => sandbox.close())

test('the first line says who is there; requests work from the first byte on', async () => {
  sandbox = await TestSandbox.start({ coalesce: true })
  const info = await sandbox.info()
  expect(sandbox.hellos).toEqual([
    {
      coppice: 'session',
      versions: [1],
      sandboxId: 'sb-test',
      token: 'secret',
      bootId: info.bootId,
      supervisorVersion: info.version,
    },
  ])
  await expect(sandbox.json('GET', '/nope')).rejects.toMatchObject({ status: 404, reason: 'no_such_route' })
})

test('a session that is cut again and again mid-output: the output is byte-identical, without gap or repeat', async () => {
  sandbox = await TestSandbox.start()
  const spec = {
    shell: 'i=0; while [ $i -lt 300 ]; do seq $((i*1000)) $((i*1000+999)); i=$((i+1)); sleep 0.01; done; exit 42',
    key: 'k',
  }
  const expected = `${Array.from({ length: 300_000 }, (_, index) => index).join('\n')}\n`
  const pieces: Buffer[] = []
  let from = 0
  let result: unknown
  let cuts = 0
  while (result === undefined) {
    const stream = await sandbox.open('POST', `/execs?follow=1&from=${from}`)
    stream.end(JSON.stringify(spec))
    const decoder = new FrameDecoder()
    const cutAfter = Math.random() * 150
    const timer = setTimeout(() => {
      cuts += 1
      sandbox.cut()
    }, cutAfter)
    stream.on('data', (chunk: Buffer) => {
      for (const frame of decoder.push(chunk)) {
        expect(frame.type).not.toBe(FrameType.gap)
        if (frame.type === FrameType.result) result = JSON.parse(frame.payload.toString())
        if (frame.type !== FrameType.data) continue
        expect(frame.offset).toBe(from)
        pieces.push(Buffer.from(frame.payload))
        from += frame.payload.length
      }
    })
    await once(stream, 'close')
    clearTimeout(timer)
  }
  expect(cuts).toBeGreaterThan(5)
  expect(Buffer.concat(pieces).toString() === expected).toBe(true)
  expect(result).toMatchObject({ exitCode: 42, stdoutBytes: expected.length })
})

test('many resets leave no streams and no descriptors', async () => {
  sandbox = await TestSandbox.start()
  await sandbox.json('POST', '/execs?detach=1', { shell: 'while :; do echo x; sleep 0.01; done', key: 'k' })
  // Launchers are being made ready in the background.
  let open = -1
  await eventually(async () => {
    const former = open
    await sleep(200)
    open = (await sandbox.info()).openFiles
    return open === former
  })
  const before = await sandbox.info()
  for (let round = 0; round < 60; round++) {
    const { execs } = await sandbox.json<{ execs: ExecInfo[] }>('GET', '/execs')
    const streams = await Promise.all(
      Array.from({ length: 5 }, () => sandbox.open('GET', `/execs/${execs[0]?.id}/output?follow=1`)),
    )
    await Promise.all(streams.map((stream) => once(stream, 'data')))
    sandbox.cut()
  }
  const after = await sandbox.info()
  expect(after.openStreams).toBe(1)
  expect(after.openFiles).toBeLessThanOrEqual(before.openFiles + 1)
}, 60_000)

test('2,000 cancelled reads and 500 stalled readers in one session: a new exec works in normal time', async () => {
  sandbox = await TestSandbox.start()
  const { info } = await sandbox.exec({ shell: 'head -c 3000000 /dev/zero', key: 'k' })
  for (let round = 0; round < 20; round++) {
    const streams = await Promise.all(
      Array.from({ length: 100 }, () => sandbox.open('GET', `/execs/${info.id}/output?follow=1`)),
    )
    await Promise.all(
      streams.map(async (stream) => {
        await once(stream, 'response')
        stream.close(8)
      }),
    )
  }
  const stalled = await Promise.all(
    Array.from({ length: 500 }, async () => {
      const stream = await sandbox.open('GET', `/execs/${info.id}/output?follow=1`)
      await once(stream, 'response')
      return stream
    }),
  )
  const began = performance.now()
  const { stdout } = await sandbox.exec({ shell: 'echo fine' })
  expect(stdout).toBe('fine\n')
  expect(performance.now() - began).toBeLessThan(2_000 + ROOM_MS)
  expect((await sandbox.info()).openStreams).toBe(501)
  expect(sandbox.hellos.length).toBe(1)
  for (const stream of stalled) stream.close(8)
  await eventually(async () => (await sandbox.info()).openStreams === 1)
}, 60_000)

test('a link that swallows everything is cut after a lease, and the exec in it goes on', async () => {
  sandbox = await TestSandbox.start({ config: { leaseMs: 600 } })
  const { id } = await sandbox.json<ExecInfo>('POST', '/execs?detach=1', { shell: 'sleep 1.5; echo through; exit 6' })
  sandbox.answerOnly(welcome(600))
  sandbox.cut()
  await eventually(() => sandbox.hellos.length === 2)
  const hung = performance.now()
  await eventually(() => sandbox.hellos.length === 3)
  expect(performance.now() - hung).toBeLessThan(600 * 2.5 + ROOM_MS)
  sandbox.answerOnly(undefined)
  const frames = await eventually(async () => {
    await sandbox.session()
    return sandbox.frames('GET', `/execs/${id}/output?follow=1`)
  })
  expect(frames.at(-1)?.type).toBe(FrameType.result)
})

test('an exec that is silent for many leases is never cut, and heartbeats come', async () => {
  sandbox = await TestSandbox.start({ config: { leaseMs: 400 } })
  const frames = await sandbox.frames('POST', '/execs?follow=1', { shell: 'sleep 11; echo done' })
  expect(frames.filter((frame) => frame.type === FrameType.heartbeat).length).toBeGreaterThanOrEqual(1)
  expect(frames.at(-1)?.type).toBe(FrameType.result)
  expect(sandbox.hellos.length).toBe(1)
}, 30_000)

test('a supervisor that stood still for many leases goes on in the same session', async () => {
  sandbox = await TestSandbox.start({ config: { leaseMs: 400 } })
  const exec = sandbox.exec({ shell: 'sleep 2; echo done' })
  await eventually(async () => (await sandbox.info()).execs.running === 1)
  sandbox.process?.kill('SIGSTOP')
  await sleep(1_500)
  sandbox.process?.kill('SIGCONT')
  expect((await exec).stdout).toBe('done\n')
  expect(sandbox.hellos.length).toBe(1)
})

test('a gateway that refuses is asked again, and what it says is in the log', async () => {
  sandbox = await TestSandbox.start()
  const error = { code: 'unauthenticated', reason: 'bad_token', message: 'The token is wrong.', retryable: false }
  sandbox.answerOnly(`${JSON.stringify({ ok: false, error })}\n`)
  sandbox.cut()
  await eventually(() => sandbox.log.includes('The token is wrong.'))
  await eventually(() => sandbox.hellos.length > 3)
  sandbox.answerOnly('nonsense\n')
  await eventually(() => sandbox.log.includes('something else than a welcome'), 20_000)
  sandbox.answerOnly(undefined)
  await sandbox.session()
  expect((await sandbox.exec({ shell: 'echo back' })).stdout).toBe('back\n')
}, 60_000)
