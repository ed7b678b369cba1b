import { readFileSync, writeFileSync } from 'node:fs'
import type { Exec, Sandbox } from '@coppice/sdk'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { processesWith } from '../support/host.ts'
import { openWorld, type World } from '../support/world.ts'

/** The bound on every call, milliseconds, and what a slow machine may add to it. */
const BOUND_MS = 30_000
const ROOM_MS = 10_000

let world: World
let sandbox: Sandbox
beforeAll(async () => {
  world = await openWorld()
}, 300_000)
afterAll(() => world?.dispose())
beforeEach(async () => {
  sandbox = await world.create()
})
afterEach(() => sandbox?.remove())

async function textOf(exec: Exec): Promise<string> {
  let text = ''
  for await (const chunk of exec.output) if ('bytes' in chunk) text += chunk.bytes.toString()
  return text
}

describe('a gateway that is killed while an exec runs', () => {
  it('leaves sandbox and exec alive; the calls of an SDK go on by themselves when it is back', async () => {
    const exec = await sandbox.spawn('for i in $(seq 1 300); do echo $i; usleep 20000; done; exit 9')
    const text = textOf(exec)
    await exec.started
    for (let time = 0; time < 3; time += 1) {
      await world.until(() => exec.offset > time * 50, 'some output')
      await world.gateway.kill()
      await world.gateway.start()
    }
    expect(await text).toBe(`${Array.from({ length: 300 }, (_, at) => at + 1).join('\n')}\n`)
    expect(await exec.result).toMatchObject({ exitCode: 9 })
    expect(await sandbox.inspect()).toMatchObject({ state: 'running' })
  })

  it('lets `attach` from the last offset give the rest and the exit code', async () => {
    const exec = await sandbox.spawn('echo first; while [ ! -e /tmp/go ]; do usleep 10000; done; echo second; exit 4')
    await world.until(() => exec.offset === 6, 'the first line')
    exec.detach()
    await exec.result.catch(() => {})
    await world.gateway.kill()
    await world.gateway.start()
    await sandbox.files.write('/tmp/go', '')
    const attached = await sandbox.attach(exec.id, { from: 6 })
    expect(await textOf(attached)).toBe('second\n')
    expect(await attached.result).toMatchObject({ exitCode: 4 })
  })

  it('never runs a command twice that was sent again with its key', async () => {
    const options = { key: 'once' }
    const first = await sandbox.spawn('echo ran >> /tmp/runs; usleep 500000; exit 6', options)
    await first.started
    await world.gateway.kill()
    await world.gateway.start()
    const second = await sandbox.exec('echo ran >> /tmp/runs; usleep 500000; exit 6', options)
    expect(second.exitCode).toBe(6)
    expect(await first.result).toMatchObject({ exitCode: 6 })
    expect((await sandbox.exec(['cat', '/tmp/runs'])).stdout).toBe('ran\n')
    await expect(sandbox.exec('echo other', options)).rejects.toMatchObject({ code: 'conflict', reason: 'key_reused' })
  })
})

describe('a supervisor that is killed', () => {
  it('is back within 5 s, serves finished results, ends running execs as exec_lost and their processes with them', async () => {
    const finished = await sandbox.exec('echo kept; exit 11')
    const running = await sandbox.spawn('setsid sleep 98765 & sleep 98765', { key: 'mine' })
    await running.started
    const init = world.initPid(sandbox)
    const sleepers = () => processesWith(init).filter(({ cmdline }) => cmdline === 'sleep 98765')
    await world.until(() => sleepers().length >= 2, 'the processes of the exec')
    const killedAt = Date.now()
    process.kill(world.supervisorPid(sandbox), 'SIGKILL')
    await expect(running.result).rejects.toMatchObject({ reason: 'exec_lost', retryable: false })
    expect(Date.now() - killedAt).toBeLessThan(BOUND_MS + ROOM_MS)
    await world.until(() => sleepers().length === 0, 'the processes of the lost exec to be gone', BOUND_MS)

    expect(await sandbox.exec(['echo', 'usable'])).toMatchObject({ stdout: 'usable\n' })
    const again = await sandbox.attach(finished.id)
    expect(await textOf(again)).toBe('kept\n')
    expect(await again.result).toMatchObject({ exitCode: 11 })
    // The same key does not run a second time: what happened to it is known.
    await expect(sandbox.exec('setsid sleep 98765 & sleep 98765', { key: 'mine' })).rejects.toMatchObject({
      reason: 'exec_lost',
    })
  })

  it('is usable again within 5 s', async () => {
    const before = await sandbox.supervisor()
    const killedAt = Date.now()
    process.kill(world.supervisorPid(sandbox), 'SIGKILL')
    expect(await sandbox.exec(['true'])).toMatchObject({ exitCode: 0 })
    expect(Date.now() - killedAt).toBeLessThan(5_000 + ROOM_MS / 4)
    expect((await sandbox.supervisor()).bootId).not.toBe(before.bootId)
  })
})

describe('a sandbox that is killed from outside', () => {
  it('ends every call within the bound, with the reason of its end record', async () => {
    const exec = await sandbox.spawn('echo last words; sleep 1000')
    const stdin = await sandbox.spawn(['cat'], { stdin: 'stream' })
    await world.until(() => exec.offset > 0, 'output')
    await stdin.started
    const killedAt = Date.now()
    process.kill(world.initPid(sandbox), 'SIGKILL')
    const failures = await Promise.allSettled([exec.result, stdin.result, sandbox.exec(['true'])])
    expect(Date.now() - killedAt).toBeLessThan(BOUND_MS + ROOM_MS)
    expect(failures[0]).toMatchObject({
      status: 'rejected',
      reason: { reason: 'sandbox_ended', facts: { endReason: 'killed' } },
    })
    expect(failures.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    const info = await sandbox.inspect()
    expect(info).toMatchObject({ state: 'stopped', end: { reason: 'killed' } })
    expect(info.end?.lastOutput).toContain('last words')
    // Its files are still there.
    await sandbox.start()
    expect(await sandbox.exec(['true'])).toMatchObject({ exitCode: 0 })
  })
})

describe('a result whose session broke before it was delivered', () => {
  it('is fetched in the next session', async () => {
    const link = await world.interpose(sandbox)
    const exec = await sandbox.spawn('while [ ! -e /tmp/go ]; do usleep 1000; done; exit 12')
    await exec.started
    const inside = `/proc/${world.initPid(sandbox)}/root`
    // Nothing comes out any more: the result is written into a dead link.
    link.blackHole()
    writeFileSync(`${inside}/tmp/go`, '')
    const records = () => readFileSync(`${inside}/.coppice-state/execs.log`, 'latin1').split('\n')
    const ended = () => records().some((line) => line.includes('"t":"end"') && line.includes(exec.id))
    await world.until(ended, 'the supervisor to have the result')
    link.cut()
    link.openAgain()
    expect(await exec.result).toMatchObject({ exitCode: 12 })
    link.dispose()
  })
})

describe('a client that goes away', () => {
  it('leaves its exec running, to be attached to', async () => {
    const client = await world.clientProcess(
      sandbox,
      'for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; usleep 100000; done; exit 2',
    )
    const id = await client.execId
    client.kill()
    const attached = await sandbox.attach(id)
    expect(await textOf(attached)).toBe('1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n')
    expect(await attached.result).toMatchObject({ exitCode: 2 })
  })

  it('takes an exec with it that was tied to it', async () => {
    const client = await world.clientProcess(sandbox, 'setsid sleep 87654 & sleep 87654', { tied: true })
    const id = await client.execId
    const init = world.initPid(sandbox)
    const sleepers = () => processesWith(init).filter(({ cmdline }) => cmdline === 'sleep 87654').length
    await world.until(() => sleepers() === 2, 'the processes of the exec')
    client.kill()
    const attached = await sandbox.attach(id)
    const result = await attached.result
    expect(result.exitCode).toBeNull()
    expect(result.signal).toMatch(/^SIG(TERM|KILL)$/)
    await world.until(() => sleepers() === 0, 'its processes to be gone')
  })
})
