import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Holders } from './holders.ts'

beforeEach(() => {
  vi.useFakeTimers()
})
afterEach(() => {
  vi.useRealTimers()
})

test('a client that leaves ends the exec at once', () => {
  const gone = vi.fn()
  const holders = new Holders(30_000, gone)
  holders.add()
  holders.remove('left')
  expect(gone).toHaveBeenCalledOnce()
})

test('a lost session ends it only after the bound, and a client that comes back keeps it', () => {
  const gone = vi.fn()
  const holders = new Holders(30_000, gone)
  holders.add()
  holders.remove('lost')
  vi.advanceTimersByTime(29_000)
  holders.add()
  vi.advanceTimersByTime(60_000)
  expect(gone).not.toHaveBeenCalled()
  holders.remove('lost')
  vi.advanceTimersByTime(30_000)
  expect(gone).toHaveBeenCalledOnce()
})

test('of two clients the last one counts', () => {
  const gone = vi.fn()
  const holders = new Holders(30_000, gone)
  holders.add()
  holders.add()
  holders.remove('left')
  expect(gone).not.toHaveBeenCalled()
  holders.remove('left')
  expect(gone).toHaveBeenCalledOnce()
})

test('nothing happens after the exec has ended', () => {
  const gone = vi.fn()
  const holders = new Holders(30_000, gone)
  holders.add()
  holders.close()
  holders.remove('left')
  vi.advanceTimersByTime(60_000)
  expect(gone).not.toHaveBeenCalled()
})
