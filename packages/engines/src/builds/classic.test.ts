import { expect, test } from 'vitest'
import { ClassicLog } from './classic.ts'

const MiB = 1024 * 1024

test('what a step prints without an end of line is shown in parts, and not held', () => {
  const log = new ClassicLog()
  const lengths: number[] = []
  for (let told = 0; told < 64; told++) {
    for (const line of log.lines('x'.repeat(MiB / 8))) lengths.push(line.length)
  }
  for (const line of log.rest()) lengths.push(line.length)
  expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(8 * MiB)
  expect(Math.max(...lengths)).toBeLessThan(MiB)
})

test('lines are put together whatever the cuts', () => {
  const log = new ClassicLog()
  expect([...log.lines('Step 1/2 : FROM x\n ---> 0123456789ab\r\nStep 2/'), ...log.lines('2 : RUN y\nlast')]).toEqual([
    'Step 1/2 : FROM x',
    ' ---> 0123456789ab',
    'Step 2/2 : RUN y',
  ])
  expect([...log.rest()]).toEqual(['last'])
  expect(log.step).toBe('Step 2/2 : RUN y')
  expect(log.made).toEqual([])
})
