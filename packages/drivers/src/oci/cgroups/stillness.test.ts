import { CoppiceError, Progress } from '@coppice/protocol/wire'
import { describe, expect, test } from 'vitest'
import { stillness } from './stillness.ts'

/** Stands for a group that stops only when it is told so for the `needed`th time, as one does in which a program is being replaced. */
function group(needed: number) {
  const told: string[] = []
  const freezer = {
    hold: () => void told.push('hold'),
    letGo: () => void told.push('go'),
    isFrozen: () => told.at(-1) === 'hold' && told.filter((what) => what === 'hold').length >= needed,
  }
  return { told, freezer }
}

describe('stillness', () => {
  test('is asked for once where everything stops', async () => {
    const { told, freezer } = group(1)
    await stillness('sb-1', freezer, Progress.none())
    expect(told).toEqual(['hold'])
  })

  test('is asked for again, after a moment in which everything goes on, where something waits for what is stopped already', async () => {
    const { told, freezer } = group(3)
    await stillness('sb-1', freezer, Progress.none())
    expect(told).toEqual(['hold', 'go', 'hold', 'go', 'hold'])
  })

  test('that nobody wants any more ends in going on', async () => {
    const { told, freezer } = group(Number.POSITIVE_INFINITY)
    const abort = new AbortController()
    const waiting = stillness('sb-1', freezer, new Progress({ signal: abort.signal }))
    abort.abort()
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' })
    expect(told.at(-1)).toBe('go')
  })

  test('that cannot be asked for is that error, and ends in going on', async () => {
    const { told, freezer } = group(1)
    const refused = new CoppiceError('internal', 'refused', 'No.')
    const hold = () => {
      throw refused
    }
    await expect(stillness('sb-1', { ...freezer, hold }, Progress.none())).rejects.toBe(refused)
    expect(told).toEqual(['go'])
  })
})
