import { Progress } from '@coppice/protocol/wire'
import { afterEach, describe, expect, type TestContext, test } from 'vitest'
import { Ends, eventually } from '../contract/subject.ts'
import type { DriverNotice } from '../driver.ts'
import { identify, isAlive } from '../host/process.ts'
import { EngineSubject } from '../testing/engine-subject.ts'
import type { EngineDriver } from './driver.ts'

const none = Progress.none()
const KINDS = ['docker', 'podman'] as const

describe('when the engine goes away', () => {
  let subject: EngineSubject | undefined
  afterEach(async () => {
    await subject?.close()
    subject = undefined
  })

  const open = async (context: TestContext, kind: 'docker' | 'podman', ...flags: string[]): Promise<EngineSubject> => {
    const opened = await EngineSubject.open(kind, ...flags)
    if ('unavailable' in opened) return context.skip(opened.unavailable)
    subject = opened
    return opened
  }
  /** What a driver says about its engine, from the moment on at which it knows that it is there. */
  const listening = async (driver: EngineDriver): Promise<DriverNotice[]> => {
    const notices: DriverNotice[] = []
    await driver.probe(none)
    driver.notices((notice) => notices.push(notice))
    await eventually('the first notice', () => notices.find(({ available }) => available))
    return notices
  }
  const lost = (notices: DriverNotice[]) =>
    eventually('the notice of its loss', () => notices.find(({ available }) => !available), 15_000)
  const back = (notices: DriverNotice[]) =>
    eventually('the notice of its return', () => (notices.length > 1 && notices.at(-1)?.available) || undefined, 15_000)

  for (const kind of KINDS) {
    test(`${kind}, frozen: it is said, what runs is known and can be stopped, what is made fails typed`, async (context) => {
      const { engine } = await open(context, kind)
      const driver = subject?.open() as EngineDriver
      const ends = new Ends(driver)
      const notices = await listening(driver)
      const [made, other] = [await driver.create(spec(), none), await driver.create(spec(), none)]
      engine.freeze()
      expect((await lost(notices)).detail).toMatch(/does not answer|has not answered/)
      expect(await driver.inspect(made.id)).toEqual(made)
      expect(new Set((await driver.list(none)).map(({ state }) => state))).toEqual(new Set(['running']))
      expect((await driver.stats(made.id)).memoryBytes).toBeGreaterThan(0)
      const refused = spec()
      await expect(driver.create(refused, none)).rejects.toMatchObject({ code: 'unavailable', reason: 'engine_silent' })
      expect(await driver.inspect(refused.id)).toBeUndefined()
      await driver.stop(made.id, 10_000, none)
      expect(await driver.inspect(made.id)).toMatchObject({ state: 'stopped', end: { reason: 'stopped', exitCode: 0 } })
      await expect(driver.remove(made.id, none)).rejects.toMatchObject({ code: 'unavailable' })
      engine.thaw()
      await back(notices)
      expect(await driver.start({ ...spec(), id: made.id }, none)).toMatchObject({ state: 'running' })
      expect(await driver.inspect(other.id)).toEqual(other)
      expect(ends.told.map(({ id, end }) => [id, end?.reason])).toEqual([[made.id, 'stopped']])
      await driver.close()
    })
  }
  const spec = () => (subject as EngineSubject).spec()

  test('docker, killed with live-restore: sandboxes go on, and everything works once it is back', async (context) => {
    const { engine } = await open(context, 'docker', '--live-restore')
    const driver = subject?.open() as EngineDriver
    const ends = new Ends(driver)
    const notices = await listening(driver)
    const [made, ended] = [await driver.create(spec(), none), await driver.create(spec(), none)]
    await engine.end('SIGKILL')
    expect((await lost(notices)).detail).toMatch(/ended its stream|hung up|does not answer|nobody listens/)
    expect(await driver.inspect(made.id)).toEqual(made)
    process.kill(ended.pid as number, 'SIGKILL')
    expect(await ends.of(ended.id)).toMatchObject({
      end: { reason: 'killed', message: expect.stringContaining('Docker could not be asked') },
    })
    await engine.start()
    await back(notices)
    expect(await driver.inspect(made.id)).toEqual(made)
    await driver.stop(made.id, 10_000, none)
    for (const id of [made.id, ended.id]) {
      expect(await driver.start({ ...spec(), id }, none)).toMatchObject({ state: 'running' })
      await driver.remove(id, none)
    }
    expect(await subject?.residue()).toEqual([])
    await driver.close()
  })

  test('docker, killed without live-restore: it ends its sandboxes when it is back, and that is told', async (context) => {
    const { engine } = await open(context, 'docker')
    const driver = subject?.open() as EngineDriver
    const ends = new Ends(driver)
    const notices = await listening(driver)
    const made = await driver.create(spec(), none)
    await engine.end('SIGKILL')
    await lost(notices)
    expect(await driver.inspect(made.id)).toEqual(made)
    await engine.start()
    await back(notices)
    const end = await eventually('its end', () => ends.told[0], 20_000)
    expect(end).toMatchObject({
      id: made.id,
      end: { message: expect.stringContaining('Docker was going away or being started') },
    })
    expect(await driver.start({ ...spec(), id: made.id }, none)).toMatchObject({ state: 'running' })
    await driver.close()
  })

  test('docker, ended in order: its sandboxes end in order too, and that is told', async (context) => {
    const { engine } = await open(context, 'docker')
    const driver = subject?.open() as EngineDriver
    const ends = new Ends(driver)
    await listening(driver)
    const { id } = await driver.create(spec(), none)
    await eventually('the supervisor', async () => ((await driver.logs(id, 4096)).length > 0 ? true : undefined))
    await engine.end('SIGTERM')
    expect(await ends.of(id)).toMatchObject({ end: { reason: 'exited', exitCode: 0 } })
    await engine.start()
    expect(await driver.start({ ...spec(), id }, none)).toMatchObject({ state: 'running' })
    await driver.close()
  })

  test('podman, killed: sandboxes go on, and a new service over the same folders goes on with them', async (context) => {
    const { engine } = await open(context, 'podman')
    const driver = subject?.open() as EngineDriver
    driver.watch(() => {})
    const notices = await listening(driver)
    const made = await driver.create(spec(), none)
    await engine.end('SIGKILL')
    await lost(notices)
    await expect(driver.create(spec(), none)).rejects.toMatchObject({ code: 'unavailable' })
    await engine.start()
    await back(notices)
    expect(await driver.list(none)).toEqual([made])
    await driver.stop(made.id, 10_000, none)
    expect(await driver.start({ ...spec(), id: made.id }, none)).toMatchObject({ state: 'running' })
    await driver.remove(made.id, none)
    expect(await subject?.residue()).toEqual([])
    await driver.close()
  })

  test('in the middle of a create, the create fails, and what it left can be removed', async (context) => {
    const { engine } = await open(context, 'docker')
    const driver = subject?.open() as EngineDriver
    const before = await driver.create(spec(), none)
    for (const events of ['create', 'start']) {
      const wanted = spec()
      const watch = await engine.connect()
      const stop = new AbortController()
      const seen = (async () => {
        for await (const event of watch.events({ follow: true }, new Progress({ signal: stop.signal }))) {
          if (event.action === events) return engine.end('SIGKILL')
        }
      })()
      const failed = await driver.create(wanted, none).catch((cause: unknown) => cause)
      await seen
      stop.abort()
      await engine.start()
      if (failed instanceof Error) expect(failed).toMatchObject({ code: 'unavailable' })
      // Whatever was made of it is found by name, and goes.
      await driver.remove(wanted.id, none)
      expect((await subject?.residue())?.filter((line) => line.includes(wanted.id))).toEqual([])
    }
    await driver.remove(before.id, none)
    expect(isAlive(identify(before.pid as number) ?? { pid: 0, startTicks: 0 })).toBe(false)
    await driver.close()
  })
})
