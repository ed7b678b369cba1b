import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { HeldLayers } from '@coppice/engines'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, afterEach, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { saveFilesContract } from '../contract/save-files.ts'
import { type Examination, eventually, examined } from '../contract/subject.ts'
import type { Driver } from '../driver.ts'
import { detectCgroups } from '../oci/cgroups/detect.ts'
import { EngineSubject } from '../testing/engine-subject.ts'
import { cgroupOf } from './use.ts'

const none = Progress.none()

const save = (driver: Driver, id: string) => (driver.saveFiles as NonNullable<Driver['saveFiles']>)(id, none)

/** With folders that are not overlayfs' a layer comes out of the whole image, as from every engine whose files we cannot read. */
describe('the driver contract of saved files: docker with vfs', () => {
  const examination: Examination = { subject: undefined, unavailable: 'it was not opened' }
  beforeAll(async () => {
    const opened = await EngineSubject.open('docker', '--storage-driver=vfs')
    if ('unavailable' in opened) examination.unavailable = opened.unavailable
    else examination.subject = opened
  })
  afterEach(() => examination.subject?.removeAll())
  afterAll(() => examination.subject?.close())

  saveFilesContract(examination)

  test('come as an archive', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const { id } = await driver.create(subject.spec(), none)
    const saved = await save(driver, id)
    expect(saved).toMatchObject({ form: 'docker-archive', diffId: expect.stringMatching(/^sha256:/) })
    await saved.dispose()
    await driver.close()
  })
})

for (const kind of ['docker', 'podman'] as const) {
  describe(`a save in ${kind}`, () => {
    let opened: EngineSubject | { unavailable: string } = { unavailable: 'it was not opened' }
    let child: ChildProcess | undefined
    beforeAll(async () => {
      opened = await EngineSubject.open(kind)
    })
    afterEach(async () => {
      child?.kill('SIGKILL')
      if ('unavailable' in opened) return
      await opened.removeAll()
      expect(await opened.savingResidue()).toEqual([])
    })
    afterAll(async () => {
      if ('close' in opened) await opened.close()
    })

    const subject = (context: TestContext): EngineSubject =>
      'unavailable' in opened ? context.skip(opened.unavailable) : opened
    /** A process that saves, and is killed when `moment` has come: it says a line, or something is seen. */
    const killed = async (from: EngineSubject, id: string, moment: 'saved' | (() => true | undefined)) => {
      const script = join(import.meta.dirname, '../testing/save.ts')
      const args = [script, from.workspace.home, kind, from.engine.socket, id]
      child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
      const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
      if (moment !== 'saved') await eventually('the moment', moment, 30_000)
      else for await (const line of lines) if (line === moment) break
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    }

    test('whose process is killed while it reads is taken back by the next that watches', async (context) => {
      const from = subject(context)
      const driver = from.open()
      const spec = from.spec()
      const { pid } = await driver.create(spec, none)
      await killed(from, spec.id, 'saved')
      expect(await from.savingResidue()).toHaveLength(2)
      const next = from.open()
      const stop = next.watch(() => {})
      await nothingLeft(from)
      expect(await next.inspect(spec.id)).toMatchObject({ state: 'running', pid })
      stop()
      for (const each of [driver, next]) await each.close()
    })

    test('whose process is killed while the sandbox is held still lets it go on', async (context) => {
      const from = subject(context)
      const driver = from.open()
      const spec = from.spec()
      const { pid } = await driver.create(spec, none)
      await from.inside(spec.id, ['sh', '-c', 'head -c 150000000 /dev/urandom > /big'])
      await killed(from, spec.id, () => paused(pid))
      const next = from.open()
      const stop = next.watch(() => {})
      await nothingLeft(from)
      expect(await from.inside(spec.id, ['echo', 'on'])).toEqual({ exitCode: 0, output: 'on\n' })
      stop()
      for (const each of [driver, next]) await each.close()
    })

    test('whose process is killed goes with its sandbox, or with a prune', async (context) => {
      const from = subject(context)
      const driver = from.open()
      const [removed, other] = [from.spec(), from.spec()]
      for (const spec of [removed, other]) await driver.create(spec, none)
      await killed(from, removed.id, 'saved')
      await driver.remove(removed.id, none)
      expect(await from.savingResidue()).toEqual([])
      await killed(from, other.id, 'saved')
      await driver.pruneImages(() => true, none)
      expect((await from.savingResidue()).filter((line) => line.includes(':saved-'))).toEqual([])
      await driver.close()
    })

    test('that is being read is not pruned, and goes on when its sandbox is removed', async (context) => {
      const from = subject(context)
      const driver = from.open()
      const { id } = await driver.create(from.spec(), none)
      const saved = await save(driver, id)
      await driver.remove(id, none)
      await driver.pruneImages(() => false, none)
      const chunks = await Array.fromAsync(saved.chunks)
      expect(Buffer.concat(chunks).length).toBeGreaterThan(1024)
      await saved.dispose()
      expect(await from.savingResidue()).toEqual([])
      await driver.close()
    })

    test('that ends is not in the way of a create that asks for the layers that the engine has', async (context) => {
      const from = subject(context)
      const driver = from.open()
      const { id } = await driver.create(from.spec(), none)
      const engine = await from.engine.connect()
      let over = false
      const asking = async () => {
        while (!over) await new HeldLayers().find(engine, [from.layer.diffId], engine.dialect.imageArchive, none)
      }
      const saves = async () => {
        for (let round = 0; round < 8; round++) await (await save(driver, id)).dispose()
      }
      await Promise.all([asking(), saves().finally(() => (over = true))])
      await driver.close()
    })

    test('of a container that somebody else has paused leaves it paused', async (context) => {
      const from = subject(context)
      const driver = from.open()
      const spec = from.spec()
      const { pid } = await driver.create(spec, none)
      await from.engine.run('pause', from.container(spec.id))
      await (await save(driver, spec.id)).dispose()
      expect(paused(pid)).toBe(true)
      await driver.close()
    })
  })
}

/** Both kinds at once: Podman forgets its commit, and for most of this test that is waited for. */
describe.concurrent('a save in the middle of which the engine is killed', () => {
  test.for(['docker', 'podman'] as const)(
    'fails, and the sandbox goes on when it is back: %s',
    async (kind, context) => {
      const from = await EngineSubject.open(kind, '--live-restore')
      if ('unavailable' in from) return context.skip(from.unavailable)
      context.onTestFinished(() => from.close())
      const driver = from.open()
      const stop = driver.watch(() => {})
      const spec = from.spec()
      const { pid } = await driver.create(spec, none)
      await from.inside(spec.id, ['sh', '-c', 'head -c 150000000 /dev/urandom > /big'])
      const saving = save(driver, spec.id)
      saving.catch(() => {})
      await eventually('the pause', () => paused(pid), 30_000)
      await from.engine.end('SIGKILL')
      await expect(saving).rejects.toMatchObject({ code: 'unavailable' })
      await from.engine.start()
      await nothingLeft(from)
      // Not by a command of the engine: Docker 20.10 may go on taking the container for paused, and refuse those alone.
      await eventually('that it goes on', () => !isFrozen(pid as number), 30_000)
      await driver.stop(spec.id, 5000, none)
      expect(await driver.inspect(spec.id)).toMatchObject({ state: 'stopped' })
      stop()
      await driver.close()
    },
  )
})

/** As the kernel sees it: Podman answers nothing about a container that it commits. */
const paused = (pid: number | null) => (isFrozen(pid as number) ? (true as const) : undefined)

const nothingLeft = (from: EngineSubject) =>
  eventually('nothing', async () => ((await from.savingResidue()).length === 0 ? true : undefined), 60_000)

function isFrozen(pid: number): boolean {
  const layout = detectCgroups()
  const path = cgroupOf(pid, layout.version === 1 ? 'freezer' : '')
  if (layout.version === 2) return readFileSync(`${layout.mount}${path}/cgroup.events`, 'utf8').includes('frozen 1')
  return readFileSync(`${layout.controllers.get('freezer')}${path}/freezer.state`, 'utf8').trim() === 'FROZEN'
}
