import { expect, test } from 'vitest'
import { Backoff } from './backoff.ts'

test('the limit doubles from 100 ms to 5 s', () => {
  const backoff = new Backoff(() => 1)
  expect(Array.from({ length: 8 }, () => backoff.next())).toEqual([100, 200, 400, 800, 1600, 3200, 5000, 5000])
})

test('a session that lived starts it all over, one that was cut at once does not quite', () => {
  const backoff = new Backoff(() => 1)
  for (let step = 0; step < 8; step++) backoff.next()
  backoff.sessionEnded(50)
  expect(backoff.next()).toBe(200)
  backoff.sessionEnded(1_000)
  expect(backoff.next()).toBe(100)
})

test('any time up to the limit can come', () => {
  expect(new Backoff(() => 0).next()).toBe(0)
  expect(new Backoff(() => 0.5).next()).toBe(50)
})
