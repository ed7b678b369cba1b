import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { describe, expect, type TestContext, test } from 'vitest'
import { eventually } from '../contract/subject.ts'
import type { Driver } from '../driver.ts'
import type { OciSubject } from '../testing/oci-subject.ts'
import { openOci } from '../testing/open-oci.ts'

const none = Progress.none()

/** What a slow machine may add to a bound, milliseconds. */
const ROOM_MS = 2_500

describe('the init of the runtime bundle, in a sandbox', () => {
  let subject: OciSubject
  let driver: Driver
  const needsDriver = openOci((opened, its) => {
    subject = opened
    driver = its
  })

  const create = async (context: TestContext): Promise<string> => {
    needsDriver(context)
    const { id } = await driver.create(subject.spec({ limits: { memoryMB: 512, cpus: 2, pids: 2000 } }), none)
    await supervisorAfter(id, 0)
    return id
  }
  const log = (id: string): string => readFileSync(join(subject.folder(id), 'init.log'), 'utf8')
  const isUp = (id: string): true | undefined => existsSync(join(subject.folder(id), 'upper', 'up')) || undefined
  /** The PID (inside) of the supervisor that came after `before` others. */
  const supervisorAfter = (id: string, before: number): Promise<string> =>
    eventually('a supervisor', () => [...log(id).matchAll(/supervisor up (\d+)/g)][before]?.[1])

  test('reaps 1,000 orphans: no zombie is left', async (context) => {
    const id = await create(context)
    // A sub-shell that ends at once leaves its sleep to the init.
    await subject.inside(id, ['sh', '-c', 'for i in $(seq 1000); do (sleep 0.2 &) ; done'])
    const zombies = await eventually('all orphans to be gone', async () => {
      const { output } = await subject.inside(id, ['sh', '-c', 'cat /proc/[0-9]*/stat 2>/dev/null | grep -c sleep'])
      return output.trim() === '0' ? output.trim() : undefined
    })
    expect(zombies).toBe('0')
    const { output } = await subject.inside(id, ['sh', '-c', 'grep -l "State:.Z" /proc/[0-9]*/status | grep -c .'])
    expect(output.trim()).toBe('0')
  })

  test('starts a killed supervisor again within 5 s, the fifth time too', async (context) => {
    const id = await create(context)
    for (let kills = 0; kills < 5; kills++) {
      const pid = await supervisorAfter(id, kills)
      const began = performance.now()
      await subject.inside(id, ['kill', '-KILL', pid])
      await supervisorAfter(id, kills + 1)
      expect(performance.now() - began).toBeLessThan(5000 + ROOM_MS)
    }
  })

  test('ends the supervisor before it ends the rest', async (context) => {
    const id = await create(context)
    const rest = 'trap "echo rest ending >> /.coppice-state/order; exit 0" TERM; touch /up; while :; do sleep 0.1; done'
    const running = subject.inside(id, ['sh', '-c', rest])
    await eventually('the rest', () => isUp(id))
    await driver.stop(id, 10_000, none)
    await running
    const order = readFileSync(join(subject.folder(id), 'state', 'order'), 'utf8')
    expect(order).toBe('supervisor ending\nrest ending\n')
  })

  test('kills what does not end on SIGTERM', async (context) => {
    const id = await create(context)
    const running = subject.inside(id, ['sh', '-c', 'trap "" TERM; touch /up; while :; do sleep 0.1; done'])
    await eventually('the stubborn one', () => isUp(id))
    await driver.stop(id, 10_000, none)
    await running
    expect(await driver.inspect(id)).toMatchObject({ end: { reason: 'stopped', exitCode: 0 } })
  })

  test('a stopped (SIGSTOP) supervisor does not hold up the end for ever', async (context) => {
    const id = await create(context)
    await subject.inside(id, ['kill', '-STOP', await supervisorAfter(id, 0)])
    await driver.stop(id, 14_000, none)
    expect(await driver.inspect(id)).toMatchObject({ end: { reason: 'stopped', exitCode: 0 } })
    expect(log(id)).toContain('did not end in time')
  })
})
