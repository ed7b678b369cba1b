import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PrivateDocker } from '@coppice/engines/testing'
import type { Limits, Sandbox } from '@coppice/sdk'
import { afterAll, afterEach, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { CoppiceCommand } from '../support/command.ts'
import { openWorld, type World } from '../support/world.ts'

const MiB = 1024 ** 2
const LIMITS: Limits = { memoryMB: 128, cpus: 1, pids: 128 }
const GROWN: Limits = { memoryMB: 512, cpus: 0.5, pids: 200 }

/** Doubles a text until it has 64 MiB, and says so. */
const HUNGRY = `awk 'BEGIN { text = "sixteen bytes ok"; for (i = 0; i < 22; i++) text = text text; print length(text) }'`

/** Memory that cannot be given up, and needs nobody to hold it. */
const HOLD_60_MIB = ['dd', 'if=/dev/zero', 'of=/dev/shm/held', 'bs=1M', 'count=60']

let dir: string
let docker: PrivateDocker | undefined
let why = ''
let world: World
let coppice: CoppiceCommand

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'coppice-resize-'))
  const opened = await PrivateDocker.open('--live-restore')
  if ('unavailable' in opened) why = opened.unavailable
  else docker = opened
  // The gateway's own way to hand a limit to the kernel, which hangs once where there is a file `hold`, until its caller is gone.
  const script = `#!/bin/sh\nif rm ${dir}/hold 2>/dev/null; then exec tail --pid=$PPID -f /dev/null; fi\nPATH=${process.env.PATH} exec setpriv "$@"\n`
  writeFileSync(join(dir, 'setpriv'), script, { mode: 0o755 })
  const env = { PATH: `${dir}:${process.env.PATH}`, ...(docker && { DOCKER_HOST: `unix://${docker.socket}` }) }
  world = await openWorld({ allowProcessDriver: true }, env)
  coppice = new CoppiceCommand(world.gateway.home)
}, 120_000)
afterEach(async () => {
  for (const { id } of await world.client.sandboxes.list()) await world.client.sandboxes.remove(id)
})
afterAll(async () => {
  await world?.dispose()
  await docker?.close()
  rmSync(dir, { recursive: true, force: true })
}, 60_000)

/** What is recorded and what its driver has are both this. */
async function expectLimits(sandbox: Sandbox, limits: Limits): Promise<void> {
  expect(await sandbox.inspect()).toMatchObject({ state: 'running', limits, actual: { limits }, drift: [] })
}

/** A resize is in the registry and not done. */
function underWay(): boolean {
  const folder = join(world.gateway.home, 'registry', 'sandboxes')
  const entries = readdirSync(folder).filter((name) => name.endsWith('.json'))
  return entries.some((name) => readFileSync(join(folder, name), 'utf8').includes('"resizing":{'))
}

/** Begins a resize that gets stuck, and kills the gateway there. */
async function interrupted(driver: string, sandbox: Sandbox, limits: Partial<Limits>): Promise<void> {
  const stuck = driver === 'docker' ? docker : undefined
  stuck?.freeze()
  writeFileSync(join(dir, 'hold'), '')
  try {
    // Not by the SDK: it would ask the next gateway again.
    const { url, token } = world.gateway
    const request = {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    }
    const answered = fetch(`${url}/v1/sandboxes/${sandbox.id}/resize`, { ...request, body: JSON.stringify(limits) })
    const cut = expect(answered).rejects.toThrow()
    await world.until(underWay, 'the resize to begin', 10_000)
    // Half of it is done there: CPU and processes come before memory.
    if (!stuck) await world.until(() => !existsSync(join(dir, 'hold')), 'the resize to come to memory', 10_000)
    await world.gateway.kill()
    await cut
    rmSync(join(dir, 'hold'), { force: true })
    stuck?.thaw()
    await world.gateway.start()
    expect(underWay()).toBe(false)
  } finally {
    rmSync(join(dir, 'hold'), { force: true })
    stuck?.thaw()
  }
}

describe.each(['oci', 'docker'])('other limits for a sandbox of %s', (driver) => {
  const create = async (context: TestContext, limits: Partial<Limits> = {}): Promise<Sandbox> => {
    if (driver === 'docker' && !docker) context.skip(why)
    return world.create({ driver, ...LIMITS, ...limits })
  }

  test('a program that was killed for memory, and told so, runs once there is enough', async (context) => {
    const box = await create(context, { memoryMB: 96 })
    const killed = await box.exec(HUNGRY)
    expect(killed).toMatchObject({ signal: 'SIGKILL', exitCode: null })
    expect(killed.oomKilled).toBe(driver === 'oci' ? true : 'probable')
    expect(await box.resize({ memoryMB: 512 })).toMatchObject({
      state: 'running',
      limits: { ...LIMITS, memoryMB: 512 },
    })
    expect(await box.exec(HUNGRY)).toMatchObject({ stdout: `${64 * MiB}\n`, exitCode: 0, oomKilled: false })
    // And after it has shrunk again, the first ending is the right one again.
    await box.resize({ memoryMB: 96 })
    expect((await box.exec(HUNGRY)).oomKilled).toBe(killed.oomKilled)
    await expectLimits(box, { ...LIMITS, memoryMB: 96 })
  })

  test('memory that is in use is not taken away, and nothing else changes then', async (context) => {
    const box = await create(context)
    const { configHash } = await box.inspect()
    await box.exec(HOLD_60_MIB)
    await expect(box.resize({ memoryMB: 48, cpus: 0.25, pids: 99 })).rejects.toMatchObject({
      code: 'failed_precondition',
      reason: 'limits_refused',
    })
    await expectLimits(box, LIMITS)
    expect((await box.inspect()).configHash).toBe(configHash)
    expect((await box.exec('wc -c < /dev/shm/held')).stdout.trim()).toBe(String(60 * MiB))
  })

  test('they last: through stop and start, and through the death of the gateway', async (context) => {
    const box = await create(context)
    await box.resize(GROWN)
    await expectLimits(box, GROWN)
    await world.gateway.kill()
    await world.gateway.start()
    await expectLimits(box, GROWN)
    await box.stop()
    const { memoryMB } = LIMITS
    expect(await box.resize({ memoryMB })).toMatchObject({ state: 'stopped', limits: { ...GROWN, memoryMB } })
    await box.start()
    await expectLimits(box, { ...GROWN, memoryMB })
  })

  test('a gateway that was killed in the middle is followed by one that finishes', async (context) => {
    const box = await create(context)
    await interrupted(driver, box, GROWN)
    await expectLimits(box, GROWN)
    expect(world.gateway.log()).toContain('a change of limits that was under way was finished')
  })

  test('and by one that takes all of it back when it is refused', async (context) => {
    const box = await create(context)
    await box.exec(HOLD_60_MIB)
    await interrupted(driver, box, { memoryMB: 48, cpus: 0.25, pids: 99 })
    await expectLimits(box, LIMITS)
  })

  test('asked for many times beside stops and starts, what is recorded is what there is', async (context) => {
    const box = await create(context)
    const wanted = [100, 200, 300, 400].map((memoryMB) => box.resize({ memoryMB }))
    await Promise.all([...wanted, box.stop({ graceMs: 0 }), box.start(), box.resize({ pids: 150 })])
    await box.start()
    const { limits } = await box.inspect()
    expect(limits.pids).toBe(150)
    expect([100, 200, 300, 400]).toContain(limits.memoryMB)
    await expectLimits(box, limits)
  })

  test('more than the host has is taken as it is when a sandbox is made', async (context) => {
    const box = await create(context, { memoryMB: 4_000_000, cpus: 100 })
    await expectLimits(box, { memoryMB: 4_000_000, cpus: 100, pids: 128 })
    await box.resize({ memoryMB: 8_000_000, cpus: 200 })
    await expectLimits(box, { memoryMB: 8_000_000, cpus: 200, pids: 128 })
  })
})

test('what an engine that is away could neither do nor take back is settled once it is there again', async (context) => {
  if (!docker) return context.skip(why)
  const box = await world.create({ driver: 'docker', ...LIMITS })
  await docker.end('SIGKILL')
  await expect(box.resize(GROWN)).rejects.toMatchObject({ code: 'unavailable' })
  expect(underWay()).toBe(true)
  await docker.start()
  await world.until(() => !underWay(), 'the change to be settled', 60_000)
  await expectLimits(box, LIMITS)
})

test('what cannot be is said: nothing asked for, out of range, no such sandbox any more, a driver that cannot', async () => {
  const box = await world.create(LIMITS)
  for (const change of [{}, { memoryMB: 15 }, { cpus: 0 }, { pids: 15 }, { memoryMB: 100.5 }, { memory: 512 }])
    await expect(box.resize(change)).rejects.toMatchObject({ code: 'invalid_argument', reason: 'bad_request' })
  await expectLimits(box, LIMITS)
  await box.remove()
  await expect(box.resize({ pids: 100 })).rejects.toMatchObject({ code: 'not_found', reason: 'sandbox_removed' })
  const bare = await world.create({ driver: 'process' })
  await expect(bare.resize({ pids: 100 })).rejects.toMatchObject({
    code: 'unsupported',
    reason: 'resize',
    facts: { drivers: expect.arrayContaining(['oci']) },
    hint: 'coppice create --driver oci',
  })
})

test('the command says what it has now, and so do ls and inspect', async () => {
  await world.create({ ...LIMITS, name: 'box' })
  expect(await coppice.run(['resize', 'box', '--memory', '1g', '--cpus', '0.5'])).toEqual({
    code: 0,
    signal: null,
    stdout: '',
    stderr: 'box now has: memory 1.0 GiB, cpus 0.5, pids 128\n',
  })
  expect((await coppice.run(['ls'])).stdout).toMatch(/1\.0 GiB +0\.5 /)
  await coppice.run(['stop', 'box'])
  const stopped = await coppice.run(['resize', 'box', '--pids', '64', '--json'])
  expect(stopped.stderr).toBe('box will have at its next start: memory 1.0 GiB, cpus 0.5, pids 64\n')
  expect(JSON.parse(stopped.stdout)).toMatchObject({ limits: { memoryMB: 1024, cpus: 0.5, pids: 64 } })
  expect(await coppice.run(['resize', 'box'])).toMatchObject({
    code: 125,
    stderr: expect.stringMatching(/Nothing is to be changed.*--memory/s),
  })
})
