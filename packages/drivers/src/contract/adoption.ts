import { Progress } from '@coppice/protocol/wire'
import { expect, test } from 'vitest'
import { Ends, type Examination, eventually, examined } from './subject.ts'

const none = Progress.none()

/** Sandboxes do not belong to the object, or process, that made them. */
export function adoptionContract(examination: Examination): void {
  test('a sandbox outlives the driver that made it and is adopted by the next', async (context) => {
    const subject = examined(examination, context)
    const first = subject.open()
    const made = await first.create(subject.spec(), none)
    await first.close()
    const second = subject.open()
    expect(await second.list(none)).toEqual([made])
    const ends = new Ends(second)
    process.kill(made.pid as number, 'SIGKILL')
    expect(await ends.of(made.id)).toMatchObject({ end: { reason: 'killed' } })
    await second.close()
  })

  test('an adopted sandbox can be stopped, started and removed', async (context) => {
    const subject = examined(examination, context)
    const first = subject.open()
    const spec = subject.spec()
    await first.create(spec, none)
    await first.close()
    const second = subject.open()
    await second.stop(spec.id, 10_000, none)
    expect(await second.start(spec, none)).toMatchObject({ state: 'running' })
    await second.remove(spec.id, none)
    expect(await subject.residue()).toEqual([])
    await second.close()
  })

  test('an end that nobody watched is explained to whoever comes next', async (context) => {
    const subject = examined(examination, context)
    const first = subject.open()
    const made = await first.create(subject.spec(), none)
    await first.close()
    process.kill(made.pid as number, 'SIGKILL')
    const second = subject.open()
    const found = await eventually('its end', async () => {
      const [sandbox] = await second.list(none)
      return sandbox?.state === 'stopped' ? sandbox : undefined
    })
    expect(found).toMatchObject({ id: made.id, end: { reason: 'killed' } })
    await second.close()
  })

  test('two drivers over one folder each tell an end once', async (context) => {
    const subject = examined(examination, context)
    const [first, second] = [subject.open(), subject.open()]
    const [firstEnds, secondEnds] = [new Ends(first), new Ends(second)]
    const made = await first.create(subject.spec(), none)
    await second.list(none)
    process.kill(made.pid as number, 'SIGKILL')
    await Promise.all([firstEnds.of(made.id), secondEnds.of(made.id)])
    await first.inspect(made.id)
    await second.inspect(made.id)
    expect([firstEnds.count(made.id), secondEnds.count(made.id)]).toEqual([1, 1])
    await first.close()
    await second.close()
  })
}
