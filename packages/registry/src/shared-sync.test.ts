import { describe, expect, it } from 'vitest'
import { SharedSync } from './shared-sync.ts'

/** Syncs that end when they are told to. */
function gated() {
  const begun: PromiseWithResolvers<void>[] = []
  const shared = new SharedSync(() => {
    const gate = Promise.withResolvers<void>()
    begun.push(gate)
    return gate.promise
  })
  return { begun, shared }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('a shared sync', () => {
  it('begins after it was asked for, and is one for all who ask until then', async () => {
    const { begun, shared } = gated()
    const together = [shared.request(), shared.request(), shared.request()]
    await turn()
    expect(begun).toHaveLength(1)
    begun[0]?.resolve()
    await Promise.all(together)
    expect(begun).toHaveLength(1)
  })

  it('is not the one that had begun before it was asked for', async () => {
    const { begun, shared } = gated()
    const first = shared.request()
    await turn()
    let isDone = false
    const late = [shared.request(), shared.request()]
    void late[0]?.then(() => {
      isDone = true
    })
    begun[0]?.resolve()
    await first
    await turn()
    expect([begun.length, isDone]).toEqual([2, false])
    begun[1]?.resolve()
    await Promise.all(late)
    expect(begun).toHaveLength(2)
  })

  it('that fails is the failure of those who shared it, and of nobody after them', async () => {
    const { begun, shared } = gated()
    const first = shared.request()
    await turn()
    const second = shared.request()
    begun[0]?.reject(new Error('EIO'))
    await expect(first).rejects.toThrow('EIO')
    await turn()
    begun[1]?.resolve()
    await second
    const third = shared.request()
    await turn()
    begun[2]?.resolve()
    await third
    expect(begun).toHaveLength(3)
  })
})
