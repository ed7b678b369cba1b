import { expect, test } from 'vitest'
import { type Preparation, watched } from './stall.ts'

async function* silentAfter<T>(...values: T[]): AsyncGenerator<T> {
  yield* values
  await new Promise(() => {})
}

async function* late<T>(ms: number, ...values: T[]): AsyncGenerator<T> {
  await pause(ms)
  yield* values
}

/** What a slow reader or source does: no synchronisation. */
function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

const read = (source: AsyncIterable<number>, preparation?: Preparation) =>
  Array.fromAsync(watched(source, 20, 'The export', preparation))

test('a source that says nothing is cut', async () => {
  await expect(read(silentAfter(1))).rejects.toMatchObject({
    code: 'deadline_exceeded',
    reason: 'transfer_stalled',
    facts: { stallMs: 20 },
  })
})

test('a source whose reader is slow is not cut', async () => {
  const got: number[] = []
  for await (const value of watched(late(0, 1, 2), 20, 'The export')) {
    got.push(value)
    await pause(60)
  }
  expect(got).toEqual([1, 2])
})

test('a source that prepares its first chunk is waited for while it lives', async () => {
  let asked = 0
  const alive = async () => {
    asked += 1
    return true
  }
  expect(await read(late(100, 1, 2), { limitMs: 60_000, alive })).toEqual([1, 2])
  expect(asked).toBeGreaterThan(0)
})

test('a source that prepares its first chunk is cut when it is dead, or has taken too long', async () => {
  const stalled = { reason: 'transfer_stalled' }
  await expect(read(silentAfter(), { limitMs: 60_000, alive: async () => false })).rejects.toMatchObject(stalled)
  await expect(read(silentAfter(), { limitMs: 50, alive: async () => true })).rejects.toMatchObject(stalled)
})

test('a source that has begun gets no more time than any other', async () => {
  const alive = async () => true
  await expect(read(silentAfter(1), { limitMs: 60_000, alive })).rejects.toMatchObject({ reason: 'transfer_stalled' })
})
