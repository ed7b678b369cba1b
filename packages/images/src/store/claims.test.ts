import { describe, expect, it } from 'vitest'
import { Claims } from './claims.ts'

describe('claims', () => {
  const never = new AbortController().signal

  it('let one work at a time on a key, in the order in which they came', async () => {
    const claims = new Claims()
    const order: number[] = []
    let working = 0
    const work = async (at: number) => {
      const giveUp = await claims.take('key', never)
      order.push(at)
      expect(++working).toBe(1)
      await Promise.resolve()
      working--
      giveUp()
      giveUp()
    }
    await Promise.all([0, 1, 2, 3].map(work))
    expect(order).toEqual([0, 1, 2, 3])
    expect(claims.has('key')).toBe(false)
  })

  it('keep keys apart, and say no to who will not wait', async () => {
    const claims = new Claims()
    const giveUp = claims.tryTake('a')
    expect(claims.tryTake('a')).toBeUndefined()
    expect(claims.tryTake('b')).toBeTypeOf('function')
    giveUp?.()
    expect(claims.tryTake('a')).toBeTypeOf('function')
  })

  it('forget who gives up waiting', async () => {
    const claims = new Claims()
    const first = claims.tryTake('key')
    const abort = new AbortController()
    const second = claims.take('key', abort.signal)
    const third = claims.take('key', never)
    abort.abort(new Error('enough'))
    await expect(second).rejects.toThrow('enough')
    await expect(claims.take('key', abort.signal)).rejects.toThrow('enough')
    first?.()
    ;(await third)()
    expect(claims.has('key')).toBe(false)
  })
})
