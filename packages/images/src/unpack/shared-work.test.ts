import { Progress, type ProgressEvent } from '@coppice/protocol/wire'
import { describe, expect, it } from 'vitest'
import { SharedWork } from './shared-work.ts'

describe('shared work', () => {
  it('is done once for all who want it at the same time, and again for those who come later', async () => {
    const work = new SharedWork<number>()
    const gate = Promise.withResolvers<void>()
    let runs = 0
    const job = async () => {
      await gate.promise
      return ++runs
    }
    const first = [1, 2, 3].map(() => work.run('a', job, Progress.none()))
    const other = work.run('b', job, Progress.none())
    gate.resolve()
    expect(await Promise.all(first)).toEqual([1, 1, 1])
    expect(await other).toBe(2)
    expect(await work.run('a', job, Progress.none())).toBe(3)
  })

  it('fails for all who want it, and is tried again by the next', async () => {
    const work = new SharedWork<void>()
    const fail = () => Promise.reject(new RangeError('no'))
    const outcomes = await Promise.allSettled([1, 2].map(() => work.run('a', fail, Progress.none())))
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['rejected', 'rejected'])
    await work.run('a', async () => undefined, Progress.none())
  })

  it('tells everybody how far it is', async () => {
    const work = new SharedWork<void>()
    const gate = Promise.withResolvers<void>()
    const events: ProgressEvent[] = []
    const listening = () => new Progress({ onEvent: (event) => events.push(event) })
    const job = async (progress: Progress) => {
      await gate.promise
      progress.report('half')
    }
    const both = [work.run('a', job, listening()), work.run('a', job, listening())]
    gate.resolve()
    await Promise.all(both)
    expect(events).toEqual([{ message: 'half' }, { message: 'half' }])
  })

  it('goes on when one gives up, and is aborted when all have', async () => {
    const work = new SharedWork<string>()
    let signal: AbortSignal | undefined
    const never = (progress: Progress) => {
      signal = progress.signal
      return progress.race(new Promise<string>(() => undefined))
    }
    const [one, two] = [new AbortController(), new AbortController()]
    const first = work.run('a', never, new Progress({ signal: one.signal }))
    const second = work.run('a', never, new Progress({ signal: two.signal }))
    one.abort()
    await expect(first).rejects.toMatchObject({ code: 'cancelled' })
    expect(signal?.aborted).toBe(false)
    two.abort()
    await expect(second).rejects.toMatchObject({ code: 'cancelled' })
    expect(signal?.aborted).toBe(true)
    expect(await work.run('a', async () => 'anew', Progress.none())).toBe('anew')
  })
})
