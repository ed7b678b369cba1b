import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, afterEach, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { Ends } from '../contract/subject.ts'
import type { SandboxSpec } from '../driver.ts'
import { OciSubject } from '../testing/oci-subject.ts'

const none = Progress.none()

describe('after a crash', () => {
  let subject: OciSubject
  let unavailable: string | undefined

  beforeAll(async () => {
    const opened = await OciSubject.open()
    if ('unavailable' in opened) unavailable = opened.unavailable
    else subject = opened
  })
  afterEach(() => subject?.removeAll())
  afterAll(() => subject?.close())

  const needsEngine = (context: TestContext): void => {
    if (unavailable) context.skip(unavailable)
  }

  /** A process that creates, stops, starts and removes one sandbox over and over, killed `afterMs` after it began. */
  const killLife = async (spec: SandboxSpec, afterMs: number): Promise<void> => {
    const program = join(import.meta.dirname, '../testing/life.ts')
    const life = spawn(process.execPath, [program, subject.workspace.home, JSON.stringify(spec)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(life.stdout, 'data')
    await sleep(afterMs)
    life.kill('SIGKILL')
    await once(life, 'exit')
  }

  test('of the process that drives it, at any moment of a life, the next one sees and removes what is there', async (context) => {
    needsEngine(context)
    const spec = subject.spec()
    for (let round = 0; round < 25; round++) {
      await killLife(spec, 3 + round * 9)
      const driver = subject.open()
      // A command that the killed process had started outlives it for a moment and takes the rest away by itself. The home's own
      // empty cgroup is nobody's sandbox.
      const left = async () => (await subject.residue()).some((line) => line.includes(spec.id))
      const agrees = async () => (await driver.list(none)).length > 0 === (await left())
      await expect.poll(agrees).toBe(true)
      await driver.remove(spec.id, none)
      expect(await subject.residue()).toEqual([])
      await driver.close()
    }
  }, 120_000)

  test('of the process that drives it, a sandbox that runs can be stopped and started', async (context) => {
    needsEngine(context)
    const spec = subject.spec()
    const first = subject.open()
    await first.create(spec, none)
    await first.close()
    for (let round = 0; round < 6; round++) {
      const driver = subject.open()
      if ((await driver.inspect(spec.id))?.state === 'running') await driver.stop(spec.id, 1000, none)
      expect(await driver.start(spec, none)).toMatchObject({ state: 'running' })
      await driver.close()
    }
  })

  test('of the host, a sandbox is stopped with that reason, and start works', async (context) => {
    needsEngine(context)
    const driver = subject.open()
    const spec = subject.spec()
    const { pid } = await driver.create(spec, none)
    await subject.inside(spec.id, ['sh', '-c', 'echo kept > /kept'])
    await driver.close()
    // What a reboot leaves: the files, another boot id, and a PID that is somebody else's by now.
    process.kill(pid as number, 'SIGKILL')
    const path = join(subject.folder(spec.id), 'record.json')
    const record = JSON.parse(readFileSync(path, 'utf8'))
    writeFileSync(
      path,
      JSON.stringify({ ...record, bootId: 'another boot', init: { pid: process.pid, startTicks: 1 } }),
    )
    const next = subject.open()
    const ends = new Ends(next)
    expect(await next.list(none)).toMatchObject([{ state: 'stopped', end: { reason: 'host_rebooted' } }])
    expect(ends.count(spec.id)).toBe(1)
    expect(await next.start(spec, none)).toMatchObject({ state: 'running' })
    expect((await subject.inside(spec.id, ['cat', '/kept'])).output).toBe('kept\n')
    await next.close()
  })

  test('of the disk under a record, the sandbox is listed as unfinished and can be removed', async (context) => {
    needsEngine(context)
    const driver = subject.open()
    const { id } = await driver.create(subject.spec(), none)
    await driver.stop(id, 1000, none)
    await driver.close()
    writeFileSync(join(subject.folder(id), 'record.json'), '{"schema":')
    const next = subject.open()
    expect(await next.list(none)).toMatchObject([{ id, state: 'stopped', end: { reason: 'gateway_interrupted' } }])
    await next.remove(id, none)
    expect(await subject.residue()).toEqual([])
    await next.close()
  })
})
