import { Progress } from '@coppice/protocol/wire'
import { expect, test } from 'vitest'
import { Ends, type Examination, eventually, examined } from './subject.ts'

const none = Progress.none()

/** Every end is noticed, explained and told once. */
export function endContract(examination: Examination): void {
  test('an init killed from outside is noticed, and what the sandbox held is given back', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const ends = new Ends(driver)
    const { id, pid } = await driver.create(subject.spec(), none)
    process.kill(pid as number, 'SIGKILL')
    expect(await ends.of(id)).toMatchObject({ state: 'stopped', end: { reason: 'killed', exitCode: null } })
    expect(await driver.inspect(id)).toMatchObject({ state: 'stopped', end: { reason: 'killed' } })
    await driver.remove(id, none)
    expect(await subject.residue()).toEqual([])
    expect(ends.count(id)).toBe(1)
    await driver.close()
  })

  test('an end is found by inspect at once, before the watch looks', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const ends = new Ends(driver)
    const { id, pid } = await driver.create(subject.spec(), none)
    process.kill(pid as number, 'SIGKILL')
    await eventually('its end', async () => ((await driver.inspect(id))?.state === 'stopped' ? true : undefined))
    await ends.of(id)
    expect(ends.count(id)).toBe(1)
    await driver.close()
  })

  test('an init that ends in order without being asked by us has exited', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const ends = new Ends(driver)
    const { id, pid } = await driver.create(subject.spec(), none)
    await eventually('the supervisor', async () => ((await driver.logs(id, 4096)).length > 0 ? true : undefined))
    process.kill(pid as number, 'SIGTERM')
    expect(await ends.of(id)).toMatchObject({ end: { reason: 'exited', exitCode: 0 } })
    await driver.close()
  })

  test('each end of one sandbox is told once: stop, start, kill, remove', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const ends = new Ends(driver)
    const spec = subject.spec()
    await driver.create(spec, none)
    await driver.stop(spec.id, 10_000, none)
    const { pid } = await driver.start(spec, none)
    process.kill(pid as number, 'SIGKILL')
    await eventually('the second end', () => (ends.count(spec.id) === 2 ? true : undefined))
    await driver.start(spec, none)
    await driver.remove(spec.id, none)
    expect(ends.told.map((sandbox) => sandbox.end?.reason)).toEqual(['stopped', 'killed', 'removed'])
    await driver.close()
  })

  test('a watch that was ended is told nothing', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const ended = new Ends(driver)
    const other = new Ends(driver)
    ended.stop()
    const { id, pid } = await driver.create(subject.spec(), none)
    process.kill(pid as number, 'SIGKILL')
    await other.of(id)
    expect(ended.told).toEqual([])
    await driver.close()
  })

  test('the last resource use is told with the end and kept', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    if (!driver.capabilities.limits) context.skip('the driver measures nothing')
    const ends = new Ends(driver)
    const { id } = await driver.create(subject.spec(), none)
    await driver.stop(id, 10_000, none)
    const use = ends.told[0]?.use
    expect(use?.cpuSeconds).toBeGreaterThan(0)
    expect(use?.memoryPeakBytes).toBeGreaterThan(0)
    expect(await driver.stats(id)).toEqual(use)
    await driver.close()
  })
}
