import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { expect, test } from 'vitest'
import { type Examination, eventually, examined } from './subject.ts'

const none = Progress.none()

/** Create, stop, start, remove, and what is left after each. */
export function lifeCycleContract(examination: Examination): void {
  test('a probe says that it works, and with what', async (context) => {
    const driver = examined(examination, context).open()
    expect(await driver.probe(none)).toMatchObject({ available: true, detail: expect.stringMatching(/\w/) })
    await driver.close()
  })

  test('create returns a running sandbox that list and inspect show', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const spec = subject.spec()
    const made = await driver.create(spec, none)
    expect(made).toMatchObject({ id: spec.id, state: 'running', end: null })
    expect(await driver.inspect(spec.id)).toEqual(made)
    expect(await driver.list(none)).toEqual([made])
    await driver.close()
  })

  test('the supervisor of a created sandbox runs, and what it writes is in the logs, bounded', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const { id } = await driver.create(subject.spec(), none)
    const output = await eventually('output', async () => {
      const text = (await driver.logs(id, 4096)).toString()
      return text.includes('\n') ? text : undefined
    })
    expect((await driver.logs(id, 5)).toString()).toBe(output.slice(-5))
    await driver.close()
  })

  test('the supervisor configuration is in the socket folder, for its owner alone', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const spec = subject.spec()
    await driver.create(spec, none)
    const file = await stat(join(spec.runDir, 'sandbox.json'))
    expect(file.mode & 0o777).toBe(0o400)
    if (driver.uidBase > 0) expect(file.uid).toBe(driver.uidBase)
    expect(JSON.parse(await readFile(join(spec.runDir, 'sandbox.json'), 'utf8'))).toEqual(spec.supervisor)
    await driver.close()
  })

  test('an id that exists is refused and the sandbox that has it is not harmed', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const spec = subject.spec()
    const made = await driver.create(spec, none)
    await expect(driver.create(spec, none)).rejects.toMatchObject({ code: 'already_exists', reason: 'sandbox_exists' })
    expect(await driver.inspect(spec.id)).toEqual(made)
    await driver.close()
  })

  test('an id that is no plain name is refused', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    for (const id of ['', '..', 'a/b', '-a', 'A', 'x'.repeat(64)]) {
      await expect(driver.create(subject.spec({ id }), none)).rejects.toMatchObject({ code: 'invalid_argument' })
    }
    expect(await subject.residue()).toEqual([])
    await driver.close()
  })

  test('a create that fails says why and leaves nothing', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const error = await driver.create(subject.brokenSpec(), none).catch((cause: unknown) => cause)
    expect(error).toMatchObject({ name: 'CoppiceError', message: expect.stringMatching(/\w/) })
    expect(await subject.residue()).toEqual([])
    await driver.close()
  })

  test('a create that is aborted at any moment leaves nothing', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    for (const afterMs of [0, 2, 5, 9, 14, 20, 27, 35, 44, 60]) {
      const made = await driver
        .create(subject.spec(), new Progress({ timeoutMs: afterMs }))
        .catch((cause: unknown) => cause)
      // A slow abort may come after the end of a create: then there is a sandbox.
      if (made instanceof Error) expect(made).toMatchObject({ code: 'deadline_exceeded' })
      else await driver.remove((made as { id: string }).id, none)
      expect(await subject.residue()).toEqual([])
    }
    await driver.close()
  })

  test('sandboxes created at the same time do not disturb each other', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const made = await Promise.all(Array.from({ length: 10 }, () => driver.create(subject.spec(), none)))
    expect(new Set(made.map((sandbox) => sandbox.pid)).size).toBe(10)
    expect((await driver.list(none)).map((sandbox) => sandbox.state)).toEqual(Array(10).fill('running'))
    await Promise.all(made.map((sandbox) => driver.remove(sandbox.id, none)))
    expect(await subject.residue()).toEqual([])
    await driver.close()
  })

  test('stop ends a sandbox in order and keeps it; a second stop is a success', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const { id } = await driver.create(subject.spec(), none)
    await eventually('the supervisor', async () => ((await driver.logs(id, 4096)).length > 0 ? true : undefined))
    await driver.stop(id, 10_000, none)
    const stopped = { id, state: 'stopped', pid: null, end: { reason: 'stopped', exitCode: 0 } }
    expect(await driver.inspect(id)).toMatchObject(stopped)
    await driver.stop(id, 10_000, none)
    expect(await driver.list(none)).toMatchObject([stopped])
    await driver.close()
  })

  test('stop without grace kills', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const { id } = await driver.create(subject.spec(), none)
    await driver.stop(id, 0, none)
    expect(await driver.inspect(id)).toMatchObject({ state: 'stopped', end: { reason: 'stopped', exitCode: null } })
    await driver.close()
  })

  test('start runs the same files again, with the configuration given', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const spec = subject.spec()
    await driver.create(spec, none)
    await subject.inside?.(spec.id, ['sh', '-c', 'echo kept > /kept; echo kept > /.coppice-state/kept'])
    await driver.stop(spec.id, 10_000, none)
    const supervisor = { ...spec.supervisor, token: 'another' }
    const started = await driver.start({ ...spec, supervisor }, none)
    expect(started).toMatchObject({ state: 'running', end: null })
    expect(await driver.inspect(spec.id)).toEqual(started)
    expect(JSON.parse(await readFile(join(spec.runDir, 'sandbox.json'), 'utf8'))).toMatchObject({ token: 'another' })
    const kept = await subject.inside?.(spec.id, ['cat', '/kept', '/.coppice-state/kept'])
    if (kept) expect(kept).toEqual({ exitCode: 0, output: 'kept\nkept\n' })
    await driver.close()
  })

  test('calls in the wrong state are typed errors', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const spec = subject.spec()
    await expect(driver.start(spec, none)).rejects.toMatchObject({ code: 'not_found', reason: 'sandbox_not_found' })
    await expect(driver.stop(spec.id, 0, none)).rejects.toMatchObject({
      code: 'not_found',
      reason: 'sandbox_not_found',
    })
    await expect(driver.stats(spec.id)).rejects.toMatchObject({ code: 'not_found', reason: 'sandbox_not_found' })
    expect(await driver.inspect(spec.id)).toBeUndefined()
    await driver.create(spec, none)
    await expect(driver.start(spec, none)).rejects.toMatchObject({
      code: 'failed_precondition',
      reason: 'sandbox_running',
    })
    await driver.close()
  })

  test('remove leaves nothing, of a running sandbox, of a stopped one, and of none', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const [running, stopped] = [subject.spec(), subject.spec()]
    await driver.create(running, none)
    await driver.create(stopped, none)
    await driver.stop(stopped.id, 10_000, none)
    expect(await subject.residue()).not.toEqual([])
    for (const spec of [running, stopped, running, stopped]) await driver.remove(spec.id, none)
    expect(await subject.residue()).toEqual([])
    expect(existsSync(join(running.runDir, 'sandbox.json'))).toBe(false)
    expect(await driver.list(none)).toEqual([])
    await driver.close()
  })

  test('a read-only root is given or refused, never ignored', async (context) => {
    const subject = examined(examination, context)
    const driver = subject.open()
    const spec = subject.spec({ readOnlyRoot: true })
    if (driver.capabilities.readOnlyRoot) {
      await driver.create(spec, none)
      const written = await subject.inside?.(spec.id, [
        'sh',
        '-c',
        'echo a > /tmp/a && echo b > /run/b && ! echo c > /c',
      ])
      if (written) expect(written.exitCode).toBe(0)
    } else {
      await expect(driver.create(spec, none)).rejects.toMatchObject({ code: 'unsupported' })
      expect(await subject.residue()).toEqual([])
    }
    await driver.close()
  })
}
