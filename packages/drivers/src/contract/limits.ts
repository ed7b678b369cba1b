import { Progress } from '@coppice/protocol/wire'
import { expect, type TestContext, test } from 'vitest'
import type { Driver } from '../driver.ts'
import { type Examination, examined, type Subject } from './subject.ts'

const none = Progress.none()

/** Memory, CPU and pids limits, seen from inside and in the statistics. */
export function limitsContract(examination: Examination): void {
  test('statistics show the limits and what is used', async (context) => {
    const { subject, driver } = limited(examination, context)
    const { id } = await driver.create(subject.spec({ limits: { memoryMB: 128, cpus: 0.5, pids: 64 } }), none)
    const use = await driver.stats(id)
    expect(use).toMatchObject({ memoryLimitBytes: 128 * 1024 * 1024, pidsLimit: 64, cpusLimit: 0.5, oomKills: 0 })
    expect(use.memoryBytes).toBeGreaterThan(0)
    expect(use.pids).toBeGreaterThan(0)
    await driver.close()
  })

  test('a program that takes more memory than there is gets killed, and that is counted', async (context) => {
    const { subject, driver, inside } = limited(examination, context)
    const { id } = await driver.create(subject.spec({ limits: { memoryMB: 128, cpus: 1, pids: 64 } }), none)
    // tail keeps the one endless line that it reads.
    const { exitCode } = await inside(id, ['sh', '-c', 'echo 800 > /proc/self/oom_score_adj; exec tail /dev/zero'])
    expect(exitCode).toBe(137)
    expect((await driver.stats(id)).oomKills).toBeGreaterThan(0)
    expect(await driver.inspect(id)).toMatchObject({ state: 'running' })
    await driver.close()
  })

  test('processes beyond the limit cannot be made', async (context) => {
    const { subject, driver, inside } = limited(examination, context)
    const { id } = await driver.create(subject.spec({ limits: { memoryMB: 256, cpus: 1, pids: 40 } }), none)
    const { output } = await inside(id, ['sh', '-c', 'for i in $(seq 60); do sleep 100 >/dev/null 2>&1 & done; echo'])
    expect(output).toMatch(/fork|Resource temporarily unavailable/)
    expect((await driver.stats(id)).pids).toBeLessThanOrEqual(40)
    await driver.close()
  })

  test('CPU time beyond the limit is not given', async (context) => {
    const { subject, driver, inside } = limited(examination, context)
    const { id } = await driver.create(subject.spec({ limits: { memoryMB: 256, cpus: 0.2, pids: 64 } }), none)
    const before = await driver.stats(id)
    const began = performance.now()
    await inside(id, ['timeout', '1.5', 'sh', '-c', 'while :; do :; done'])
    const wallSeconds = (performance.now() - began) / 1000
    const used = ((await driver.stats(id)).cpuSeconds ?? 0) - (before.cpuSeconds ?? 0)
    expect(used).toBeGreaterThan(0)
    // One period's quota more than the share is what the kernel may give.
    expect(used).toBeLessThan(wallSeconds * 0.2 + 0.1)
    await driver.close()
  })
}

function limited(
  examination: Examination,
  context: TestContext,
): { subject: Subject; driver: Driver; inside: NonNullable<Subject['inside']> } {
  const subject = examined(examination, context)
  const driver = subject.open()
  if (!driver.capabilities.limits) context.skip('the driver declares no limits')
  if (!subject.inside) context.skip('there is no way to run a program inside')
  return { subject, driver, inside: (id, argv) => (subject.inside as NonNullable<Subject['inside']>)(id, argv) }
}
