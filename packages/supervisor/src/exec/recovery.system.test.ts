import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecInfo } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isAlive, readProcess } from '../scope/processes.ts'
import { TestCgroup } from '../testing/cgroup.ts'
import { processesOf } from '../testing/end-processes.ts'
import { eventually } from '../testing/eventually.ts'
import { mountSmall } from '../testing/fixtures.ts'
import { answerOf, TestSandbox } from '../testing/sandbox.ts'

function childrenOf(pid: number): string[] {
  return textOf(`/proc/${pid}/task/${pid}/children`).trim().split(' ')
}

function wordsOf(pid: string): string[] {
  return textOf(`/proc/${pid}/cmdline`).split('\0')
}

/** A launcher at any of its steps. */
function isShell([, applet = '', first = '']: string[]): boolean {
  return applet === 'sh' || (applet === '-s' && first === '--')
}

/** Empty when the process is gone. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

/** As when the init starts the supervisor again. */
async function killAndRestart(sandbox: TestSandbox): Promise<void> {
  await sandbox.kill()
  sandbox.spawn()
  await sandbox.session()
}

describe.each(['cgroup-v1', 'cgroup-v2', 'subreaper'] as const)('a supervisor that was killed, with %s', (kind) => {
  let cgroup: TestCgroup | undefined
  let sandbox: TestSandbox
  beforeEach(async (context) => {
    if (kind !== 'subreaper') {
      cgroup = TestCgroup.make(kind)
      if (!cgroup) context.skip(`no writable ${kind} here`)
    }
    sandbox = await TestSandbox.start(cgroup ? { cgroupDir: cgroup.dir } : {})
  })
  afterEach(async () => {
    await sandbox.close()
    await eventually(() => cgroup === undefined || cgroup.remove())
    cgroup = undefined
  })

  test('leaves no process behind, killed 10 times at whichever step of making a launcher', {
    timeout: 180_000,
  }, async () => {
    const launchers = () => processesOf(`${sandbox.stateDir}/`).filter((pid) => pid !== sandbox.pid)
    for (let round = 0; round < 10; round++) {
      await sandbox.kill()
      await eventually(() => launchers().length === 0)
      sandbox.spawn()
      // How far a launcher comes before its supervisor's end is another step each time.
      const launching = () => childrenOf(sandbox.pid).some((pid) => isShell(wordsOf(pid)))
      for (const end = performance.now() + 10_000; !launching() && performance.now() < end; ) await sleep(1)
      // One ahead of time is a courtesy. A supervisor that could not make it makes the next when it is asked.
      if (!launching()) {
        await sandbox.session()
        expect(await sandbox.exec({ shell: 'echo asked' })).toMatchObject({ stdout: 'asked\n' })
      }
      for (const end = performance.now() + round / 2; performance.now() < end; );
    }
    await sandbox.kill()
    await eventually(() => launchers().length === 0)
    sandbox.spawn()
    await sandbox.session()
    expect(await sandbox.exec({ shell: 'echo still; exit 3' })).toMatchObject({
      stdout: 'still\n',
      result: { exitCode: 3 },
    })
  })

  test('serves finished results and outputs, small and large', async () => {
    const small = await sandbox.exec({ shell: 'echo hi; echo err >&2; exit 4' })
    const large = await sandbox.exec({ shell: 'seq 1 500000; exit 5' })
    await killAndRestart(sandbox)
    for (const before of [small, large]) {
      const after = answerOf(await sandbox.frames('GET', `/execs/${before.info.id}/output?follow=1`))
      expect(after.result).toEqual(before.result)
      expect(after.stdout === before.stdout).toBe(true)
      expect(after.stderr).toBe(before.stderr)
    }
    const { execs } = await sandbox.json<{ execs: ExecInfo[] }>('GET', '/execs')
    expect(execs.map((exec) => [exec.id, exec.state])).toEqual([
      [small.info.id, 'exited'],
      [large.info.id, 'exited'],
    ])
  })

  test('ends running execs as exec_lost, and their processes are gone', async () => {
    const { id, pid } = await sandbox.json<ExecInfo>('POST', '/execs?detach=1', {
      shell: 'seq 1 300000; setsid sleep 1000 & echo $!; sleep 1000',
    })
    const output = async () => answerOf(await sandbox.frames('GET', `/execs/${id}/output?follow=0`)).stdout
    await eventually(async () => /300000\n\d+\n$/.test(await output()))
    const background = Number(/300000\n(\d+)\n$/.exec(await output())?.[1])
    await killAndRestart(sandbox)
    expect(alive(pid)).toBe(false)
    expect(alive(background)).toBe(false)
    const lost = answerOf(await sandbox.frames('GET', `/execs/${id}/output?follow=1`))
    expect(lost.result).toBeUndefined()
    expect(lost.error).toMatchObject({ code: 'unavailable', reason: 'exec_lost', retryable: false })
    expect(lost.error?.facts?.outputBytes).toBe(lost.stdout.length)
    expect(lost.stdout.startsWith('1\n2\n3\n')).toBe(true)
    expect(await sandbox.json('GET', `/execs/${id}`)).toMatchObject({ state: 'lost', pid: null, result: null })
  })

  test('never runs a key twice', async () => {
    const file = join(sandbox.dir, 'count')
    const spec = { shell: `echo x >>${file}; sleep 1000`, key: 'mine' }
    await sandbox.json('POST', '/execs?detach=1', spec)
    await eventually(() => existsSync(file) && readFileSync(file, 'latin1') === 'x\n')
    await killAndRestart(sandbox)
    const again = answerOf(await sandbox.frames('POST', '/execs?follow=1', spec))
    expect(again.error).toMatchObject({ reason: 'exec_lost' })
    expect(readFileSync(file, 'latin1')).toBe('x\n')
    await expect(sandbox.exec({ shell: 'echo other', key: 'mine' })).rejects.toMatchObject({
      code: 'conflict',
      reason: 'key_reused',
    })
  })

  test('leaves a server alone that an ended exec has started', async () => {
    const { stdout } = await sandbox.exec({ shell: 'sleep 1000 >/dev/null 2>&1 & echo $!' })
    const server = Number(stdout)
    await sandbox.exec({ argv: ['true'] })
    await killAndRestart(sandbox)
    expect(alive(server)).toBe(true)
    process.kill(server, 'SIGKILL')
  })
})

/** Running, not merely waiting for its parent to notice its end. */
function alive(pid: number | null): boolean {
  const stat = readProcess(pid ?? 0)
  return stat !== undefined && isAlive(stat)
}

describe('exactly once', () => {
  let sandbox: TestSandbox
  beforeEach(async () => {
    sandbox = await TestSandbox.start()
  })
  afterEach(() => sandbox.close())

  test('the same key attaches to the same exec, also at the same moment', async () => {
    const file = join(sandbox.dir, 'count')
    const spec = { shell: `echo x >>${file}; sleep 0.2; echo done`, key: 'k' }
    const answers = await Promise.all(Array.from({ length: 20 }, () => sandbox.exec(spec)))
    expect(new Set(answers.map(({ info }) => info.id)).size).toBe(1)
    expect(answers.every(({ stdout, result }) => stdout === 'done\n' && result.exitCode === 0)).toBe(true)
    expect(readFileSync(file, 'latin1')).toBe('x\n')
    const resumed = await sandbox.exec(spec, 'from=3')
    expect(resumed.stdout).toBe('e\n')
  })

  test('a key whose exec could not start is free again', async () => {
    await expect(sandbox.exec({ argv: ['nope'], key: 'k' })).rejects.toMatchObject({
      reason: 'program_not_found',
      status: 404,
    })
    expect((await sandbox.exec({ argv: ['true'], key: 'k' })).result.exitCode).toBe(0)
  })

  test.each([
    [{ argv: ['nope'] }, 'program_not_found', 404],
    [{ argv: ['/etc/passwd'] }, 'not_executable', 412],
    [{ argv: ['true'], cwd: '/nope' }, 'cwd_not_found', 404],
    [{ argv: ['true'], cwd: '/etc/passwd' }, 'cwd_not_a_directory', 412],
    [{ argv: ['true'], user: 'nobody-here' }, 'user_not_found', 404],
    [{ argv: ['true'], shell: 'true' }, 'invalid_request', 400],
    [{}, 'invalid_request', 400],
    [{ argv: ['true'], unknown: 1 }, 'invalid_request', 400],
  ])('%j is refused as %s', async (spec, reason, status) => {
    await expect(sandbox.exec(spec)).rejects.toMatchObject({ reason, status })
  })

  test('an unknown exec is not found', async () => {
    await expect(sandbox.json('GET', '/execs/ex-0000000000000000')).rejects.toMatchObject({ reason: 'exec_not_found' })
  })

  test('a result that is no longer kept is forgotten, but a key that a client chose is not', async () => {
    await sandbox.close()
    sandbox = await TestSandbox.start({ config: { resultRetentionMs: 1 } })
    const { info } = await sandbox.exec({ argv: ['true'], key: 'mine' })
    await eventually(async () => (await sandbox.info()).execs.held === 0, 30_000)
    await expect(sandbox.json('GET', `/execs/${info.id}`)).rejects.toMatchObject({ reason: 'exec_not_found' })
    await expect(sandbox.exec({ argv: ['true'], key: 'mine' })).rejects.toMatchObject({ reason: 'key_expired' })
  })
})

test('a full disk is a named gap: execs run, end, and can be started to clean up', async (context) => {
  const dir = mkdtempSync(join(tmpdir(), 'coppice-full-'))
  const stateDir = join(dir, 'state')
  const mount = mountSmall(stateDir, 8 * 1024 * 1024)
  if (!mount) return context.skip('no tmpfs can be mounted here')
  const sandbox = await TestSandbox.start({ stateDir })
  try {
    await sandbox.exec({ argv: ['true'] })
    const { stdout, result, gaps, info } = await sandbox.exec({ shell: `seq 1 3000000`, journal: 'block' })
    expect(result).toMatchObject({ exitCode: 0, stdoutBytes: 22_888_896 })
    expect(gaps).toEqual([])
    expect(stdout.endsWith('2999999\n3000000\n')).toBe(true)
    const later = answerOf(await sandbox.frames('GET', `/execs/${info.id}/output?follow=1`))
    expect(later.result).toEqual(result)
    expect(later.gaps.map((gap) => gap.reason)).toContain('disk_full')
    const missing = later.gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0)
    expect(missing + later.stdout.length).toBe(22_888_896)
    for (let round = 0; round < 50; round++) {
      expect((await sandbox.exec({ shell: `rm -f ${dir}/nothing; echo ${round}` })).stdout).toBe(`${round}\n`)
    }
  } finally {
    await sandbox.close()
    mount.unmount()
    rmSync(dir, { recursive: true })
  }
})

test('SIGTERM ends execs in order and tells their ends before the session goes', async () => {
  const sandbox = await TestSandbox.start()
  try {
    const polite = sandbox.exec({ shell: 'trap "echo bye; exit 9" TERM; echo ready; while :; do sleep 0.05; done' })
    const stubborn = sandbox.exec({ shell: 'trap "" TERM; while :; do sleep 0.05; done' })
    await eventually(async () => (await sandbox.info()).execs.running === 2)
    await eventually(async () => {
      const { execs } = await sandbox.json<{ execs: ExecInfo[] }>('GET', '/execs')
      return execs.some(({ outputEnd }) => outputEnd === 6)
    })
    const ended = once(sandbox.process as NonNullable<typeof sandbox.process>, 'exit')
    sandbox.process?.kill('SIGTERM')
    expect((await polite).result).toMatchObject({ exitCode: 9 })
    expect((await polite).stdout).toBe('ready\nbye\n')
    expect((await stubborn).result).toMatchObject({ signal: 'SIGKILL', timedOut: false })
    expect(await ended).toEqual([0, null])
  } finally {
    await sandbox.close()
  }
})

test('memory: the exec that takes too much is killed, and its result says so', async (context) => {
  const cgroup = TestCgroup.make()
  if (!cgroup) return context.skip('no writable cgroups of version 1 here')
  cgroup.limitMemory(48 * 1024 * 1024)
  const sandbox = await TestSandbox.start({ cgroupDir: cgroup.dir })
  try {
    const bystander = sandbox.exec({ shell: 'read x; echo alive', stdin: 'stream', key: 'bystander' })
    await eventually(async () => (await sandbox.info()).execs.running === 1)
    const { result } = await sandbox.exec({ shell: 'head -c 200000000 /dev/zero | tail' })
    expect(result.oomKilled).toBe(true)
    const { stdout } = await sandbox.exec({ argv: ['cat', '/proc/self/oom_score_adj'] })
    expect(stdout).toBe('800\n')
    const { execs } = await sandbox.json<{ execs: ExecInfo[] }>('GET', '/execs')
    const id = execs.find((exec) => exec.key === 'bystander')?.id
    await sandbox.frames('POST', `/execs/${id}/stdin?offset=0&end=1`, Buffer.from('\n'))
    expect(await bystander).toMatchObject({ stdout: 'alive\n', result: { oomKilled: false, exitCode: 0 } })
  } finally {
    await sandbox.close()
    await eventually(() => cgroup.remove())
  }
})

test('supplementary groups come from the files of the sandbox', async () => {
  const sandbox = await TestSandbox.start()
  try {
    const { stdout } = await sandbox.exec({ argv: ['id', '-G'], user: '1:4' })
    expect(stdout).toBe('4\n')
    const groups = await sandbox.exec({ shell: 'id -u; id -G | tr " " "\\n" | sort', user: 'backup' })
    const expected = await sandbox.exec({ shell: 'id -u backup; id -G backup | tr " " "\\n" | sort' })
    expect(groups.stdout).toBe(expected.stdout)
  } finally {
    await sandbox.close()
  }
})
