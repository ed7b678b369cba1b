import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { FrameDecoder, FrameType } from '@coppice/protocol/wire'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { TestCgroup } from '../testing/cgroup.ts'
import { eventually } from '../testing/eventually.ts'
import { answerOf, TestSandbox } from '../testing/sandbox.ts'

/** Processes whose command line has a word, as the kernel sees them. */
function processesWith(word: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(word)
      } catch {
        return false
      }
    })
    .map(Number)
}

let words = 0
/** A word that no other process has. */
/** What a slow machine may add to a bound, milliseconds. */
const ROOM_MS = 1_000

const mark = () => `mark-${process.pid}-${words++}`

describe.each(['cgroup-v1', 'cgroup-v2', 'subreaper'] as const)('with %s', (kind) => {
  let cgroup: TestCgroup | undefined
  let sandbox: TestSandbox
  beforeAll(async () => {
    if (kind !== 'subreaper') cgroup = TestCgroup.make(kind)
    sandbox = await TestSandbox.start(cgroup ? { cgroupDir: cgroup.dir } : {})
  })
  afterAll(async () => {
    const pid = sandbox.pid
    sandbox.process?.kill('SIGTERM')
    await eventually(() => !existsSync(`/proc/${pid}`))
    await sandbox.close()
    await eventually(() => cgroup === undefined || cgroup.remove())
  })
  const ready = (context: { skip: (why: string) => void }) => {
    if (kind !== 'subreaper' && !cgroup) context.skip(`no writable ${kind} here`)
  }

  test('the kind of scope is told', async (context) => {
    ready(context)
    expect((await sandbox.info()).killScope).toBe(kind)
  })

  test.each([
    ['exit 0', { exitCode: 0, signal: null }],
    ['exit 3', { exitCode: 3, signal: null }],
    ['exit 137', { exitCode: 137, signal: null }],
    ['exit 255', { exitCode: 255, signal: null }],
    ['kill -9 $$', { exitCode: null, signal: 'SIGKILL' }],
    ['kill -TERM $$', { exitCode: null, signal: 'SIGTERM' }],
    ['kill -SEGV $$', { exitCode: null, signal: 'SIGSEGV' }],
  ])('%s has its own wait status', async (shell, status) => {
    const { result } = await sandbox.exec({ shell })
    expect(result).toMatchObject({ ...status, timedOut: false, oomKilled: false })
  })

  test('output comes by stream, with sizes in the result', async () => {
    const { stdout, stderr, result } = await sandbox.exec({ shell: 'printf out; printf errors >&2' })
    expect([stdout, stderr]).toEqual(['out', 'errors'])
    expect(result).toMatchObject({ stdoutBytes: 3, stderrBytes: 6 })
  })

  test('a program opens /dev/stdout and /dev/stderr, also when it is not root', async () => {
    const shell = 'echo a >/dev/stdout; echo b >/dev/stderr; cat /dev/stdin'
    for (const user of ['', 'nobody']) {
      const { stdout, stderr, result } = await sandbox.exec({ shell, user })
      expect([stdout, stderr, result.exitCode]).toEqual(['a\n', 'b\n', 0])
    }
  })

  test('the environment is what was asked for and nothing else', async () => {
    const { stdout } = await sandbox.exec({ argv: ['env'], env: { FOO: 'a b', PATH: '/bin:/usr/bin' } })
    expect(stdout.split('\n').sort()).toEqual(['', 'FOO=a b', 'HOME=/root', 'PATH=/bin:/usr/bin'])
  })

  test('a program inherits its three descriptors and no other, least of all the terminal of another', async () => {
    const { id } = await sandbox.json<{ id: string }>('POST', '/execs?detach=1', { argv: ['cat'], pty: {} })
    // The first one may have been made ready before the terminal was there.
    for (let round = 0; round < 4; round++) await sandbox.exec({ argv: ['true'] })
    for (const spec of [{}, { stdin: 'stream' }, { user: 'nobody' }, { env: { 'odd.name': '1' } }, { pty: {} }]) {
      const { stdout } = await sandbox.exec({ shell: 'cd /proc/self/fd; echo *', ...spec })
      // One more is the folder that the shell looks at; high ones may come from whoever runs the tests.
      const inherited = stdout
        .trim()
        .split(' ')
        .map(Number)
        .filter((fd) => fd > 2 && fd < 100)
      expect(inherited.length).toBeLessThanOrEqual(1)
    }
    await sandbox.json('POST', `/execs/${id}/signal`, { signal: 'KILL' })
  })

  test('a background child that holds the pipes delays the result by 250 ms at most and is not killed by SIGPIPE', async () => {
    const word = mark()
    const { result, stdout } = await sandbox.exec({
      shell: `(sh -c 'i=0; while [ $i -lt 100 ]; do echo ${word}; i=$((i+1)); sleep 0.02; done; echo done >/tmp/${word}' &) ; echo main`,
    })
    // Two seconds after that it is done.
    expect(existsSync(`/tmp/${word}`)).toBe(false)
    expect(result.endedAt - result.startedAt).toBeLessThan(250 + ROOM_MS)
    expect(stdout).toContain('main\n')
    await eventually(() => existsSync(`/tmp/${word}`) && readFileSync(`/tmp/${word}`, 'latin1') === 'done\n')
    rmSync(`/tmp/${word}`)
  })

  test('a time limit ends processes that changed session and processes that re-fork', async () => {
    const word = mark()
    const shell = [
      `setsid sh -c 'trap "" TERM; while :; do sleep 1; done; : ${word}' &`,
      `(setsid setsid sh -c 'trap "" TERM; while :; do sleep 1; done; : ${word}' &)`,
      // Forks without end: each generation lives for a moment only.
      `sh -c 'trap "" TERM HUP; f() { (sleep 0.01; f) & }; f; : ${word}' &`,
      `trap "" TERM; while :; do sleep 1; done; : ${word}`,
    ].join('\n')
    const { result } = await sandbox.exec({ shell, timeoutMs: 300, graceMs: 200 })
    expect(result).toMatchObject({ timedOut: true, signal: 'SIGKILL' })
    expect(processesWith(word)).toEqual([])
  })

  test('after a time limit TERM is enough for a program that heeds it', async () => {
    const { result, stdout } = await sandbox.exec({
      shell: 'trap "echo bye; exit 7" TERM; while :; do sleep 0.05; done',
      timeoutMs: 200,
      graceMs: 10_000,
    })
    expect(stdout).toBe('bye\n')
    expect(result).toMatchObject({ timedOut: true, exitCode: 7, signal: null })
    expect(result.endedAt - result.startedAt).toBeLessThan(5_000)
  })

  test('KILL reaches the whole tree, TERM only the process group', async () => {
    const word = mark()
    const { id } = await sandbox.json<{ id: string }>('POST', '/execs?detach=1', {
      shell: `setsid sh -c 'while :; do sleep 0.1; done; : ${word}' & trap "echo got" TERM; while :; do sleep 0.1; done; : ${word}`,
    })
    await eventually(() => processesWith(word).length >= 2)
    await sandbox.json('POST', `/execs/${id}/signal`, { signal: 'TERM' })
    await eventually(
      async () => answerOf(await sandbox.frames('GET', `/execs/${id}/output?follow=0`)).stdout === 'got\n',
    )
    await sandbox.json('POST', `/execs/${id}/signal`, { signal: 'KILL' })
    const { result } = answerOf(await sandbox.frames('GET', `/execs/${id}/output?follow=1`))
    expect(result).toMatchObject({ signal: 'SIGKILL', timedOut: false, oomKilled: false })
    await eventually(() => processesWith(word).length === 0)
    await expect(sandbox.json('POST', `/execs/${id}/signal`, {})).rejects.toMatchObject({
      reason: 'exec_ended',
      status: 412,
    })
  })

  test('every descendant gets a signal for the tree', async () => {
    const word = mark()
    const { id } = await sandbox.json<{ id: string }>('POST', '/execs?detach=1', {
      shell: `setsid sh -c 'trap "echo inner; exit" USR1; while :; do sleep 0.05; done; : ${word}' & trap "echo outer; wait; exit" USR1; while :; do sleep 0.05; done; : ${word}`,
    })
    await eventually(() => processesWith(word).length >= 2)
    await eventually(async () => (await sandbox.json<{ pid: number }>('GET', `/execs/${id}`)).pid > 0)
    await sandbox.json('POST', `/execs/${id}/signal`, { signal: 'USR1', tree: true })
    const { stdout } = answerOf(await sandbox.frames('GET', `/execs/${id}/output?follow=1`))
    expect(stdout.split('\n').sort()).toEqual(['', 'inner', 'outer'])
  })

  test('200 execs at once all have their own right result', async () => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => sandbox.exec({ shell: `echo ${index}; exit ${index % 100}` })),
    )
    answers.forEach(({ stdout, result }, index) => {
      expect([stdout, result.exitCode]).toEqual([`${index}\n`, index % 100])
    })
  })

  test('nothing is left open when execs have ended', async () => {
    await sandbox.exec({ argv: ['true'] })
    await eventually(async () => (await sandbox.info()).execs.running === 0)
    const before = await sandbox.info()
    for (let round = 0; round < 10; round++) {
      await Promise.all(Array.from({ length: 10 }, () => sandbox.exec({ shell: 'echo x', stdin: 'stream' })))
    }
    // Launchers that wait for the next exec hold up to six each, and there may have been none of them before.
    await eventually(async () => (await sandbox.info()).openFiles <= before.openFiles + 24)
    if (cgroup) await eventually(() => (cgroup?.groups().length ?? 0) <= 12)
  })

  test('a terminal: size, resize, input, Ctrl-C, one stream', async () => {
    const { id } = await sandbox.json<{ id: string }>('POST', '/execs?detach=1', {
      shell: 'tty; stty size; read line; stty size; echo "got $line"; sleep 100',
      pty: { cols: 100, rows: 30 },
      user: 'nobody',
    })
    const text = async () => answerOf(await sandbox.frames('GET', `/execs/${id}/output?follow=0`)).stdout
    await eventually(async () => (await text()).includes('30 100'))
    expect(await text()).toMatch(/^\/dev\/pts\/\d+\r\n/)
    await sandbox.json('POST', `/execs/${id}/resize`, { cols: 120, rows: 40 })
    await sandbox.request('POST', `/execs/${id}/stdin?offset=0`, Buffer.from('hello\n'))
    await eventually(async () => (await text()).includes('40 120') && (await text()).includes('got hello'))
    await sandbox.request('POST', `/execs/${id}/stdin?offset=6`, Buffer.from('\x03'))
    const { result, info } = answerOf(await sandbox.frames('GET', `/execs/${id}/output?follow=1`))
    expect(info.pty).toBe(true)
    expect(result).toMatchObject({ exitCode: null, signal: 'SIGINT' })
  })

  test('a terminal keeps every byte of a program that writes much and ends', async () => {
    const { stdout, result } = await sandbox.exec({ shell: 'seq 1 200000', pty: {} })
    expect(result.exitCode).toBe(0)
    expect(stdout.split('\r\n').length).toBe(200_001)
    expect(stdout.endsWith('200000\r\n')).toBe(true)
  })

  test('standard input: acknowledged offsets, a cut in the middle, each byte once', async () => {
    const { id } = await sandbox.json<{ id: string }>('POST', '/execs?detach=1', { argv: ['cat'], stdin: 'stream' })
    const body = Buffer.from(Array.from({ length: 300_000 }, (_, index) => 32 + (index % 90)))
    const first = await sandbox.open('POST', `/execs/${id}/stdin?offset=0`)
    first.write(body.subarray(0, 100_000))
    await eventually(
      async () =>
        (await sandbox.json<{ stdinAcknowledged: number }>('GET', `/execs/${id}`)).stdinAcknowledged >= 50_000,
    )
    sandbox.cut()
    const { stdinAcknowledged } = await sandbox.json<{ stdinAcknowledged: number }>('GET', `/execs/${id}`)
    // From a little before, as a sender does that has missed the last acknowledgements.
    const from = stdinAcknowledged - 1_000
    const frames = await sandbox.frames('POST', `/execs/${id}/stdin?offset=${from}&end=1`, body.subarray(from))
    expect(frames.at(-1)).toMatchObject({ type: FrameType.ack, offset: 300_000 })
    const { stdout, result } = answerOf(await sandbox.frames('GET', `/execs/${id}/output?follow=1`))
    expect(result.exitCode).toBe(0)
    expect(stdout === body.toString()).toBe(true)
    await expect(sandbox.frames('POST', `/execs/${id}/stdin?offset=300000`, Buffer.from('x'))).rejects.toMatchObject({
      code: 'failed_precondition',
    })
  })

  test('standard input that is ahead, closed, or not read', async () => {
    const { id } = await sandbox.json<{ id: string }>('POST', '/execs?detach=1', {
      shell: 'exec <&-; sleep 30',
      stdin: 'stream',
    })
    await expect(sandbox.frames('POST', `/execs/${id}/stdin?offset=5`, Buffer.from('x'))).rejects.toMatchObject({
      reason: 'offset_ahead',
      facts: { acknowledged: 0 },
    })
    let sent = 0
    const closed = await eventually(async () => {
      try {
        sent += 1
        const frames = await sandbox.frames('POST', `/execs/${id}/stdin?offset=0`, Buffer.alloc(sent))
        return frames.some((frame) => frame.type === FrameType.error)
      } catch (error) {
        return (error as { reason: string }).reason === 'stdin_closed'
      }
    })
    expect(closed).toBe(true)
    await sandbox.json('POST', `/execs/${id}/signal`, { signal: 'KILL' })
  })

  test('a tied exec ends when its client leaves, and lives on when only the session is lost', async () => {
    const word = mark()
    const key = `tied-${word}`
    const spec = { shell: `while :; do sleep 0.1; done; : ${word}`, tied: true, key }
    await sandbox.open('POST', '/execs?follow=1').then((stream) => stream.end(JSON.stringify(spec)))
    await eventually(() => processesWith(word).length > 0)
    sandbox.cut()
    const again = await sandbox.open('POST', '/execs?follow=1')
    again.end(JSON.stringify(spec))
    await once(again, 'data')
    expect(processesWith(word).length).toBeGreaterThan(0)
    again.close(8)
    await eventually(() => processesWith(word).length === 0)
    const list = await sandbox.json<{ execs: { key: string; state: string }[] }>('GET', '/execs')
    await eventually(() => list.execs.find((exec) => exec.key === key))
  })

  test('a tied exec whose client leaves before it is started does not stay', async () => {
    const word = mark()
    for (let round = 0; round < 5; round++) {
      const stream = await sandbox.open('POST', '/execs?follow=1')
      stream.end(JSON.stringify({ shell: `while :; do sleep 0.1; done; : ${word}`, tied: true }))
      setTimeout(() => stream.close(8), round)
      await once(stream, 'close')
    }
    await eventually(async () => (await sandbox.info()).execs.running === 0 && processesWith(word).length === 0)
    expect((await sandbox.info()).openStreams).toBe(1)
  })

  test('a block journal makes the program wait for its reader, and only while there is one', async () => {
    const stream = await sandbox.open('POST', '/execs?follow=1')
    stream.end(JSON.stringify({ shell: 'head -c 20000000 /dev/zero', journal: 'block' }))
    const decoder = new FrameDecoder()
    stream.once('data', (chunk) => decoder.push(chunk))
    await once(stream, 'data')
    stream.pause()
    const find = async () => {
      const { execs } = await sandbox.json<{
        execs: { argv: string[]; id: string; outputEnd: number; state: string }[]
      }>('GET', '/execs')
      return execs.findLast((exec) => exec.argv[2]?.includes('20000000'))
    }
    let last = -1
    await eventually(async () => {
      const end = (await find())?.outputEnd ?? 0
      const stands = end === last
      last = end
      return stands && end > 0
    })
    expect(last).toBeLessThan(5_000_000)
    stream.close(8)
    await eventually(async () => (await find())?.state === 'exited')
    expect((await find())?.outputEnd).toBe(20_000_000)
  })
})
