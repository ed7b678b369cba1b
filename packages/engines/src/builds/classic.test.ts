import { expect, test } from 'vitest'
import { ClassicLog, saidBy } from './classic.ts'

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

test('a base image that is pulled is told in lines of its own', () => {
  const answer = [
    { stream: 'Step 1/1 : FROM x\n' },
    { status: 'Pulling from team/base', id: '1' },
    { status: 'Downloading', id: '0123456789ab', progressDetail: { current: 1, total: 2 } },
    { status: 'Pull complete', id: '0123456789ab' },
    { status: 'Digest: sha256:00' },
    { stream: ' ---> 0123456789ab\n' },
    { aux: { ID: 'x' } },
  ]
  const log = new ClassicLog()
  expect(answer.flatMap((line) => [...log.lines(saidBy(line))])).toEqual([
    'Step 1/1 : FROM x',
    '1: Pulling from team/base',
    '0123456789ab: Pull complete',
    'Digest: sha256:00',
    ' ---> 0123456789ab',
  ])
})
