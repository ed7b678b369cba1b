import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, afterEach, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { Ends, eventually, makeInitFirstVictim } from '../contract/subject.ts'
import { EngineSubject } from '../testing/engine-subject.ts'
import { createEngineDriver, type EngineDriver } from './driver.ts'

const none = Progress.none()

for (const kind of ['docker', 'podman'] as const) {
  describe(`what others do through ${kind}`, () => {
    let subject: EngineSubject
    let unavailable: string | undefined
    let driver: EngineDriver
    let ends: Ends

    beforeAll(async () => {
      const opened = await EngineSubject.open(kind)
      if ('unavailable' in opened) {
        unavailable = opened.unavailable
        return
      }
      subject = opened
      driver = subject.open()
      ends = new Ends(driver)
    })
    afterEach(async () => {
      for (const { id } of (await driver?.list(none)) ?? []) await driver.remove(id, none)
    })
    afterAll(async () => {
      await driver?.close()
      await subject?.close()
    })

    const create = async (context: TestContext): Promise<string> => {
      if (unavailable) context.skip(unavailable)
      const { id } = await driver.create(subject.spec(), none)
      await eventually('the supervisor', async () => ((await driver.logs(id, 4096)).length > 0 ? true : undefined))
      return id
    }
    const engine = async (...args: string[]): Promise<string> => {
      const { exitCode, output } = await subject.engine.run(...args)
      expect(exitCode, output).toBe(0)
      return output
    }

    test('a container that is removed while it runs: the sandbox has vanished, or ended first, and cannot be started', async (context) => {
      const id = await create(context)
      await engine('rm', '--force', subject.container(id))
      await ends.of(id)
      await expect
        .poll(async () => (await driver.inspect(id))?.end)
        .toMatchObject({ reason: 'vanished', message: expect.stringMatching(/removed.*by somebody else/) })
      await expect(driver.start({ ...subject.spec(), id }, none)).rejects.toMatchObject({
        code: 'failed_precondition',
        reason: 'files_gone',
        hint: `coppice rm ${id}`,
      })
      await driver.remove(id, none)
      expect(await subject.residue()).toEqual([])
    })

    test('a container that is removed after it was stopped: the sandbox has vanished', async (context) => {
      const id = await create(context)
      await driver.stop(id, 10_000, none)
      await engine('rm', subject.container(id))
      await expect.poll(async () => (await driver.inspect(id))?.end?.reason).toBe('vanished')
    })

    test('a container that was removed while nobody watched is found by the next who does', async (context) => {
      const id = await create(context)
      const first = subject.open()
      await first.stop(id, 10_000, none)
      await first.close()
      await driver.close()
      await engine('rm', subject.container(id))
      driver = subject.open()
      ends = new Ends(driver)
      await expect.poll(async () => (await driver.inspect(id))?.end?.reason).toBe('vanished')
    })

    test('a container that is stopped: the sandbox ended in order, and by whom is told', async (context) => {
      const id = await create(context)
      await engine('stop', '--time', '20', subject.container(id))
      const { end } = await ends.of(id)
      expect(end).toMatchObject({ reason: 'exited', exitCode: 0 })
      if (kind === 'docker') expect(end?.message).toContain('through Docker')
      expect(await driver.start({ ...subject.spec(), id }, none)).toMatchObject({ state: 'running' })
    })

    test('a container that is killed: the sandbox was killed', async (context) => {
      const id = await create(context)
      await engine('kill', subject.container(id))
      const { end } = await ends.of(id)
      expect(end).toMatchObject({ reason: 'killed', exitCode: null })
      if (kind === 'docker') expect(end?.message).toContain('through Docker')
    })

    test('a container that is paused can be stopped and removed', async (context) => {
      const [id, other] = [await create(context), await create(context)]
      for (const each of [id, other]) await engine('pause', subject.container(each))
      await driver.stop(id, 0, none)
      expect(await driver.inspect(id)).toMatchObject({ state: 'stopped', end: { reason: 'stopped' } })
      await driver.remove(other, none)
      await driver.remove(id, none)
      expect(await subject.residue()).toEqual([])
    })

    test('an init that the kernel kills for memory is told from one that somebody kills', async (context) => {
      const id = await create(context)
      const { pid } = (await driver.inspect(id)) as { pid: number }
      await makeInitFirstVictim(pid)
      await subject.inside(id, ['sh', '-c', 'tail /dev/zero'])
      expect(await ends.of(id)).toMatchObject({ end: { reason: 'oom_killed', exitCode: null } })
    })

    test('containers and images of others are not touched, not even one that has a name of ours', async (context) => {
      const id = await create(context)
      const mine = await (await subject.engine.connect()).containers.inspect(subject.container(id), none)
      const image = mine?.Image as string
      const theirs = subject.container('sb-theirs')
      const limits = kind === 'podman' ? ['--ulimit', 'nproc=1000:1000', '--ulimit', 'nofile=1000:1000'] : []
      await engine('tag', image, 'example.org/theirs:latest')
      await engine('create', '--name', theirs, '--network', 'none', ...limits, '--entrypoint', 'sh', image)
      expect((await driver.list(none)).map((sandbox) => sandbox.id)).toEqual([id])
      await expect(driver.create(subject.spec({ id: 'sb-theirs' }), none)).rejects.toMatchObject({ code: 'conflict' })
      await driver.remove('sb-theirs', none)
      await driver.remove(id, none)
      await driver.pruneImages(() => false, none)
      expect((await subject.residue()).map((line) => line.replace(/^\//, ''))).toEqual([theirs])
      await engine('rm', theirs)
      await driver.pruneImages(() => false, none)
      expect(await engine('images')).toContain('example.org/theirs')
      await engine('rmi', 'example.org/theirs:latest')
    })

    test('two homes at one engine know nothing of each other, whatever they are asked', async (context) => {
      const id = await create(context)
      const { pid } = (await driver.inspect(id)) as { pid: number }
      const home = mkdtempSync(join(tmpdir(), 'cph-'))
      const other = createEngineDriver({ home, engine: kind, surroundings: subject.surroundings })
      expect(await other.list(none)).toEqual([])
      expect(await other.inspect(id)).toBeUndefined()
      await other.remove(id, none)
      await other.create(subject.spec({ id }), none)
      await other.remove(id, none)
      await other.pruneImages(() => false, none)
      await other.close()
      rmSync(home, { recursive: true })
      expect(await driver.inspect(id)).toMatchObject({ state: 'running', pid })
      await driver.stop(id, 0, none)
      expect(await driver.start({ ...subject.spec(), id }, none)).toMatchObject({ state: 'running' })
    })

    test('a container that is renamed stays the sandbox, and what somebody puts in its place is not touched', async (context) => {
      const id = await create(context)
      const name = subject.container(id)
      const ours = await (await subject.engine.connect()).containers.inspect(name, none)
      const limits = kind === 'podman' ? ['--ulimit', 'nproc=1000:1000', '--ulimit', 'nofile=1000:1000'] : []
      const impostor = ['--name', name, '--label', `coppice.sandbox=${id}`, '--network', 'none', ...limits]
      const running = ['--entrypoint', '/.coppice/busybox', '--volumes-from', 'renamed', ours?.Image as string]
      await engine('rename', name, 'renamed')
      await engine('run', '--detach', ...impostor, ...running, 'sleep', '1000')
      await engine('pause', name)
      await driver.resize?.(id, { memoryMB: 200, cpus: 1, pids: 100 }, none)
      expect(await driver.stats(id)).toMatchObject({ memoryLimitBytes: 200 * 1024 * 1024 })
      await driver.stop(id, 10_000, none)
      expect(await driver.inspect(id)).toMatchObject({ state: 'stopped', end: { reason: 'stopped' } })
      expect(await engine('inspect', '--format', '{{.State.Status}}', name)).toMatch(/^paused/)
      // Its end is told under the name of ours: to who listens, and to who comes later.
      await engine('rm', '--force', name)
      const later = subject.open()
      later.watch(() => {})
      await driver.start({ ...subject.spec(), id }, none)
      await engine('kill', 'renamed')
      await expect.poll(async () => (await driver.inspect(id))?.end?.reason).toBe('killed')
      await later.close()
      await driver.remove(id, none)
      expect(await subject.residue()).toEqual([])
    })

    test('a sandbox whose container has no id written down is told by a name and labels that are ours, not by a name', async (context) => {
      const id = await create(context)
      const name = subject.container(id)
      const limits = { memoryMB: 200, cpus: 1, pids: 100 }
      writeFileSync(join(subject.folder(id), 'asked'), '')
      await driver.resize?.(id, limits, none)
      await driver.stop(id, 10_000, none)
      await driver.start({ ...subject.spec(), id, limits }, none)
      const ours = await (await subject.engine.connect()).containers.inspect(name, none)
      const nproc = kind === 'podman' ? ['--ulimit', 'nproc=1000:1000', '--ulimit', 'nofile=1000:1000'] : []
      await engine('rename', name, 'renamed')
      const theirs = ['create', '--name', name, '--network', 'none', '--memory', '64m', ...nproc]
      await engine(...theirs, '--entrypoint', 'sh', ours?.Image as string)
      const bigger = driver.resize?.(id, { ...limits, memoryMB: 300 }, none)
      await expect(bigger).rejects.toMatchObject({ reason: 'files_gone' })
      expect(await engine('inspect', '--format', '{{.HostConfig.Memory}}', name)).toMatch(/^67108864/)
      await engine('rm', name)
      await engine('rename', 'renamed', name)
      await driver.remove(id, none)
      expect(await subject.residue()).toEqual([])
    })

    test('a sandbox that floods its output fills no disk, and its last words are there', async (context) => {
      const id = await create(context)
      const { pid } = (await driver.inspect(id)) as { pid: number }
      const lines = '/.coppice/busybox seq 1 400000; echo last words'
      expect(await subject.inside(id, ['sh', '-c', `(${lines}) > /proc/1/fd/1`])).toMatchObject({ exitCode: 0 })
      await eventually('the last words', async () =>
        (await driver.logs(id, 1000)).toString().includes('last words') ? true : undefined,
      )
      expect((await driver.logs(id, 10_000_000)).length).toBeLessThan(2_200_000)
      expect(pid).toBeGreaterThan(0)
    })
  })
}
