import { Progress } from '@coppice/protocol/wire'
import { expect, type TestContext, test } from 'vitest'
import type { Driver, InterceptPlan } from '../driver.ts'
import { type Conversation, conversation, type Heard } from './intercept-program.ts'
import { type Examination, eventually, examined, type Subject } from './subject.ts'

const none = Progress.none()

const PLAN: InterceptPlan = {
  resolver: { address: '198.18.0.1', at: 61_438 },
  ranges: ['198.18.0.0/15'],
  ports: [
    { port: 80, at: 61_440 },
    { port: 443, at: 61_441 },
  ],
}

/** Connections of programs that know no proxy. */
export function interceptContract(examination: Examination): void {
  test('it is done, or the reason is told: never an error, whatever state the sandbox is in', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const spec = subject.spec()
    expect(await driver.intercept(spec.id, PLAN, none)).toEqual({ ok: false, detail: expect.stringMatching(/not run/) })
    await driver.create(spec, none)
    const done = await driver.intercept(spec.id, PLAN, none)
    expect(done).toEqual({ ok: driver.capabilities.network === 'session', detail: expect.stringMatching(/\w/) })
    await driver.stop(spec.id, 0, none)
    expect((await driver.intercept(spec.id, PLAN, none)).ok).toBe(false)
    await driver.start(spec, none)
    expect((await driver.intercept(spec.id, PLAN, none)).ok).toBe(done.ok)
    await driver.close()
  })

  test('a sandbox whose init was killed a moment ago is refused, not an error', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const { id, pid } = await driver.create(subject.spec(), none)
    process.kill(pid as number, 'SIGKILL')
    const refused = async () => ((await driver.intercept(id, PLAN, none)).ok ? undefined : true)
    await eventually('the refusal', refused)
    await driver.remove(id, none)
    expect(await subject.residue()).toEqual([])
    await driver.close()
  })

  test('listeners see the address that was asked for; the resolver answers on its port 53', async (context) => {
    const { driver, talk } = await intercepted(examination, context)
    expect(
      await talk({
        listen: [61_438, 61_440, 61_441],
        connect: ['198.18.3.4:443', '198.19.255.254:80', '198.18.0.1:53'],
        ask: ['198.18.0.1:53'],
      }),
    ).toEqual({
      '198.18.3.4:443': '198.18.3.4:61441',
      '198.19.255.254:80': '198.19.255.254:61440',
      '198.18.0.1:53': expect.stringMatching(/61438$/),
    })
    await driver.close()
  })

  test('the sandbox listens on the same ports itself, and is reached there', async (context) => {
    const { driver, talk } = await intercepted(examination, context)
    const own = { listen: [53, 80, 443, 61_438, 61_441], connect: ['127.0.0.1:443', '127.0.0.1:80', '198.18.3.4:443'] }
    expect(await talk({ ...own, ask: ['127.0.0.1:53'] })).toEqual({
      '127.0.0.1:443': '127.0.0.1:443',
      '127.0.0.1:80': '127.0.0.1:80',
      '198.18.3.4:443': '198.18.3.4:61441',
      '127.0.0.1:53': 'udp:53',
    })
    await driver.close()
  })

  test('what is not in the plan is refused at once, and never ends at a listener of the sandbox', async (context) => {
    const { driver, talk } = await intercepted(examination, context)
    const heard = await talk({ listen: [8080, 5000], connect: ['198.18.3.4:8080'], ask: ['198.18.3.4:5000'] })
    expect(heard).toEqual({ '198.18.3.4:8080': 'ECONNREFUSED', '198.18.3.4:5000': 'ECONNREFUSED' })
    expect(await talk({ listen: [], connect: ['203.0.113.1:80'] })).toEqual({ '203.0.113.1:80': 'ENETUNREACH' })
    await driver.close()
  })

  test('a plan replaces the one before: ports and ranges that are not in it are gone', async (context) => {
    const { driver, talk, id } = await intercepted(examination, context)
    const wide = { ...PLAN, ranges: [...PLAN.ranges, '10.1.2.3/8', '10.9.0.0/16', '192.0.2.7/32', '0.0.0.0/0'] }
    const ports = [...PLAN.ports, { port: 5432, at: 61_442 }]
    expect(await driver.intercept(id, { ...wide, ports }, none)).toMatchObject({ ok: true })
    const listen = [61_441, 61_442, 5432]
    const connect = ['198.18.3.4:5432', '10.200.0.1:443', '192.0.2.7:443', '8.8.8.8:443', '127.0.0.1:5432']
    expect(await talk({ listen, connect })).toEqual({
      '198.18.3.4:5432': '198.18.3.4:61442',
      '10.200.0.1:443': '10.200.0.1:61441',
      '192.0.2.7:443': '192.0.2.7:61441',
      '8.8.8.8:443': '8.8.8.8:61441',
      '127.0.0.1:5432': '127.0.0.1:5432',
    })
    const narrow = { ...PLAN, ranges: [...PLAN.ranges, '192.0.2.7/32'] }
    expect(await driver.intercept(id, narrow, none)).toMatchObject({ ok: true })
    expect(await talk({ listen, connect })).toEqual({
      '198.18.3.4:5432': 'ECONNREFUSED',
      '10.200.0.1:443': 'ENETUNREACH',
      '192.0.2.7:443': '192.0.2.7:61441',
      '8.8.8.8:443': 'ENETUNREACH',
      '127.0.0.1:5432': '127.0.0.1:5432',
    })
    await driver.close()
  })

  test('loopback stays the sandbox’s own, whatever the plan says', async (context) => {
    const { driver, talk, id } = await intercepted(examination, context)
    const ranges = ['198.18.0.0/15', '127.0.0.1/32', '126.0.0.0/7']
    expect(await driver.intercept(id, { ...PLAN, ranges }, none)).toMatchObject({ ok: true })
    expect(await talk({ listen: [443, 61_441], connect: ['127.0.0.1:443', '126.1.2.3:443'] })).toEqual({
      '127.0.0.1:443': '127.0.0.1:443',
      '126.1.2.3:443': '126.1.2.3:61441',
    })
    await driver.close()
  })

  test('a program that asks for IPv4 addresses, if there is IPv4 at all, is told them', async (context) => {
    const { driver, talk, id } = await intercepted(examination, context)
    expect(await talk({ listen: [], lookUp: ['localhost'] })).toEqual({ localhost: '127.0.0.1' })
    expect(await driver.intercept(id, PLAN, none)).toMatchObject({ ok: true })
    expect(await talk({ listen: [], lookUp: ['localhost'] })).toEqual({ localhost: '127.0.0.1' })
    await driver.close()
  })

  test('a plan that contradicts itself is refused, and the one before stays', async (context) => {
    const { driver, talk, id } = await intercepted(examination, context)
    for (const wrong of [
      { ranges: ['10.0.0.0/33'] },
      { ranges: ['10.0.0.0; add table ip x'] },
      { ports: [{ port: 0, at: 61_440 }] },
      { ports: [...PLAN.ports, { port: 22, at: 61_441 }] },
      { resolver: { address: '::1', at: 61_438 } },
    ]) {
      await expect(driver.intercept(id, { ...PLAN, ...wrong }, none)).rejects.toMatchObject({
        reason: 'bad_intercept_plan',
      })
    }
    expect(await talk({ listen: [61_441], connect: ['198.18.3.4:443'] })).toEqual({
      '198.18.3.4:443': '198.18.3.4:61441',
    })
    await driver.close()
  })
}

/** A running sandbox with the plan in force, and the means to speak inside. */
async function intercepted(
  examination: Examination,
  context: TestContext,
): Promise<{ subject: Subject; driver: Driver; id: string; talk: (talk: Conversation) => Promise<Heard> }> {
  const subject = examined(examination, context)
  const driver = subject.open()
  if (driver.capabilities.network === 'host') context.skip('its sandboxes have the network of the host')
  if (!subject.inside) context.skip('there is no way to run a program inside')
  const { id } = await driver.create(subject.spec(), none)
  expect(await driver.intercept(id, PLAN, none)).toMatchObject({ ok: true })
  const talk = async (conversed: Conversation): Promise<Heard> => {
    const { exitCode, output } = await (subject as Required<Subject>).inside(id, conversation(conversed))
    expect({ exitCode, output }).toMatchObject({ exitCode: 0, output: expect.stringMatching(/^\{.*\}\n$/) })
    return JSON.parse(output) as Heard
  }
  return { subject, driver, id, talk }
}
