import { expect, test } from 'vitest'
import { Lines } from './lines.ts'

test('lines are the same however the bytes are cut', () => {
  const bytes = Buffer.from('one\n\nthree ä\nfour')
  for (let size = 1; size <= bytes.length; size++) {
    const lines = new Lines(20)
    const found: string[] = []
    for (let at = 0; at < bytes.length; at += size) found.push(...lines.push(bytes.subarray(at, at + size)))
    expect(found).toEqual(['one', '', 'three ä'])
  }
})

test('a line over the limit is refused, with its end or without', () => {
  expect(() => new Lines(3).push(Buffer.from('four\n'))).toThrow('more than 3 bytes')
  expect(() => new Lines(3).push(Buffer.from('four'))).toThrow('more than 3 bytes')
  expect(new Lines(4).push(Buffer.from('four\nfour\n'))).toEqual(['four', 'four'])
})
