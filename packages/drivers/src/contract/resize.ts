import { type Limits, Progress } from '@coppice/protocol/wire'
import { expect, type TestContext, test } from 'vitest'
import type { Driver } from '../driver.ts'
import { type Examination, examined, type Subject } from './subject.ts'

const none = Progress.none()
const MiB = 1024 * 1024
const LIMITS: Limits = { memoryMB: 256, cpus: 1, pids: 128 }

/** Files of /dev/shm are memory that cannot be given up, and need nobody to hold them. */
const hold = (mib: number) => ['busybox', 'dd', 'if=/dev/zero', 'of=/dev/shm/held', 'bs=1M', `count=${mib}`]

/** Doubles a text until it has 64 MiB, and says so. */
const DOUBLING = `BEGIN { text = "sixteen bytes ok"; for (i = 0; i < 22; i++) text = text text; print length(text) }`
const HUNGRY = ['sh', '-c', `echo 800 > /proc/self/oom_score_adj; exec busybox awk '${DOUBLING}'`]

/** Other limits for a sandbox that runs. */
export function resizeContract(examination: Examination): void {
  test('a driver has `resize` when it declares so', async (context) => {
    const driver = examined(examination, context).open()
    expect(driver.resize !== undefined).toBe(driver.capabilities.resize)
    await driver.close()
  })

  test('limits grow and shrink while it runs, all at once', async (context) => {
    const { subject, driver, resize, limits } = resizable(examination, context)
    const { id, pid } = await driver.create(subject.spec({ limits: LIMITS }), none)
    for (const wanted of [
      { memoryMB: 512, cpus: 2, pids: 400 },
      { memoryMB: 128, cpus: 0.25, pids: 40 },
      { memoryMB: 129, cpus: 0.01, pids: 41 },
      LIMITS,
    ]) {
      await resize(id, wanted)
      expect(await limits(id)).toEqual(wanted)
    }
    expect(await driver.inspect(id)).toMatchObject({ state: 'running', pid })
    await driver.close()
  })

  test('a program that was killed for memory runs once there is enough', async (context) => {
    const { subject, driver, resize, inside } = resizable(examination, context)
    const { id } = await driver.create(subject.spec({ limits: { ...LIMITS, memoryMB: 64 } }), none)
    expect(await inside(id, HUNGRY)).toMatchObject({ exitCode: 137 })
    expect((await driver.stats(id)).oomKills).toBeGreaterThan(0)
    await resize(id, { ...LIMITS, memoryMB: 512 })
    expect(await inside(id, HUNGRY)).toEqual({ exitCode: 0, output: `${64 * MiB}\n` })
    await driver.close()
  })

  test('memory under what is in use is refused, and nothing has changed', async (context) => {
    const { subject, driver, resize, inside, limits } = resizable(examination, context)
    const spec = subject.spec({ limits: LIMITS })
    const { id } = await driver.create(spec, none)
    expect((await inside(id, hold(60))).exitCode).toBe(0)
    await expect(resize(id, { memoryMB: 48, cpus: 0.5, pids: 64 })).rejects.toMatchObject({
      code: 'failed_precondition',
      reason: 'limits_refused',
      message: expect.stringContaining(id),
    })
    expect(await limits(id)).toEqual(LIMITS)
    expect((await driver.stats(id)).oomKills).toBe(0)
    expect((await inside(id, ['sh', '-c', 'busybox wc -c < /dev/shm/held'])).output.trim()).toBe(String(60 * MiB))
    await driver.stop(id, 0, none)
    await driver.start(spec, none)
    expect(await limits(id)).toEqual(LIMITS)
    await driver.close()
  })

  test('copies of files that are held in memory make room', async (context) => {
    const { subject, driver, resize, inside, limits } = resizable(examination, context)
    const { id } = await driver.create(subject.spec({ limits: LIMITS }), none)
    await inside(id, ['busybox', 'dd', 'if=/dev/zero', 'of=/large', 'bs=1M', 'count=150', 'conv=fsync'])
    await inside(id, ['sh', '-c', 'cat /large > /dev/null'])
    expect((await driver.stats(id)).memoryBytes).toBeGreaterThan(150 * MiB)
    const wanted = { memoryMB: 100, cpus: 1, pids: 128 }
    await resize(id, wanted)
    expect(await limits(id)).toEqual(wanted)
    expect((await driver.stats(id)).memoryBytes).toBeLessThanOrEqual(100 * MiB)
    expect((await inside(id, ['sh', '-c', 'busybox wc -c < /large'])).output.trim()).toBe(String(150 * MiB))
    await driver.close()
  })

  test('the next start brings its own limits, and changes nothing before it', async (context) => {
    const { subject, driver, resize, limits } = resizable(examination, context)
    const spec = subject.spec({ limits: LIMITS })
    await driver.create(spec, none)
    const grown = { memoryMB: 300, cpus: 0.5, pids: 99 }
    await resize(spec.id, grown)
    await driver.stop(spec.id, 10_000, none)
    await resize(spec.id, { memoryMB: 16, cpus: 4, pids: 4000 })
    expect(await driver.inspect(spec.id)).toMatchObject({ state: 'stopped' })
    await driver.start({ ...spec, limits: grown }, none)
    expect(await limits(spec.id)).toEqual(grown)
    await driver.stop(spec.id, 0, none)
    await driver.start(spec, none)
    expect(await limits(spec.id)).toEqual(LIMITS)
    await driver.close()
  })

  test('a driver that comes later finds the limits, and changes them', async (context) => {
    const { subject, driver, resize, limits } = resizable(examination, context)
    const { id } = await driver.create(subject.spec({ limits: LIMITS }), none)
    const grown = { memoryMB: 300, cpus: 0.5, pids: 99 }
    await resize(id, grown)
    await driver.close()
    const next = subject.open()
    expect(await next.list(none)).toMatchObject([{ id, state: 'running' }])
    expect(await limits(id, next)).toEqual(grown)
    await next.resize?.(id, LIMITS, none)
    expect(await limits(id, next)).toEqual(LIMITS)
    await next.close()
  })

  test('an id that nobody knows is not found', async (context) => {
    const { driver, resize } = resizable(examination, context)
    await expect(resize('sb-none', LIMITS)).rejects.toMatchObject({ code: 'not_found', reason: 'sandbox_not_found' })
    await driver.close()
  })
}

function resizable(examination: Examination, context: TestContext) {
  const subject: Subject = examined(examination, context)
  const driver = subject.open()
  if (!driver.capabilities.resize) context.skip('the driver declares that limits cannot be changed')
  const inside = subject.inside?.bind(subject) ?? context.skip('there is no way to run a program inside')
  return {
    subject,
    driver,
    inside,
    resize: async (id: string, limits: Limits) => driver.resize?.(id, limits, none),
    limits: async (id: string, from: Driver = driver): Promise<Limits> => {
      const { memoryLimitBytes, cpusLimit, pidsLimit } = await from.stats(id)
      return { memoryMB: Number(memoryLimitBytes) / MiB, cpus: Number(cpusLimit), pids: Number(pidsLimit) }
    },
  }
}
