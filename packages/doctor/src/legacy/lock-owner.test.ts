import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { hostname } from 'node:os'
import { describe, expect, it } from 'vitest'
import { findProcess, startMoments } from '../host/process.ts'
import { ownerOf, parseLock } from './lock-owner.ts'

const own = findProcess(process.pid)?.startTicks as number
const { unix } = startMoments(own)

async function deadPid(): Promise<number> {
  const child = spawn('true')
  await once(child, 'exit')
  return child.pid as number
}

describe('a lock', () => {
  it.each([
    ['1234', { pid: 1234 }],
    ['1234\n', { pid: 1234 }],
    ['"1234"', { pid: 1234 }],
    ['pid: 1234', { pid: 1234 }],
    ['1234 5678', { pid: 1234, start: '5678' }],
    ['1234@host', { pid: 1234, host: 'host' }],
    ['{"pid":1234}', { pid: 1234 }],
    ['{"pid":"1234","startTime":5678}', { pid: 1234, start: 5678 }],
    ['{"PID":1234,"start_time":"5678","hostname":"h"}', { pid: 1234, start: '5678', host: 'h' }],
    ['{"owner":{"pid":1234,"starttime":5678}}', { pid: 1234, start: 5678 }],
    ['{"pid":1234,"createdAt":"2020-01-01T00:00:00Z"}', { pid: 1234 }],
    ['{"pid":1234,"bootId":"b"}', { pid: 1234, boot: 'b' }],
  ])('is read: %s', (text, expected) => {
    expect(parseLock(text)).toEqual(expected)
  })

  it.each([
    '',
    'locked',
    '{}',
    '[]',
    'null',
    '0',
    '-5',
    '{"pid":0}',
    '{"pid":1.5}',
    '{"pid":99999999}',
    '{"pid":[1]}',
    '{',
    '\0',
  ])('says nothing about its owner: %j', (text) => {
    expect(ownerOf(parseLock(text)).state).toBe('unknown')
  })

  it('of a dead process has no owner', async () => {
    const pid = await deadPid()
    expect(ownerOf({ pid })).toEqual({ state: 'gone', pid })
    expect(ownerOf({ pid, start: 'whenever' })).toEqual({ state: 'gone', pid })
  })

  it.each([
    ['ticks', own],
    ['ticks as text', String(own)],
    ['seconds', Math.round(unix)],
    ['milliseconds', unix * 1000],
    ['seconds after boot', own / 100 + 0.001],
    ['a date', new Date(unix * 1000).toISOString()],
  ])('of a living process that started then is held: %s', (_, start) => {
    expect(ownerOf({ pid: process.pid, start })).toEqual({ state: 'alive', pid: process.pid })
  })

  it.each([own - 1, own + 1, 1, Math.round(unix) - 60, (unix + 60) * 1000, '2001-01-01T00:00:00Z'])(
    'of a process that started at another time has no owner: %s',
    (start) => {
      expect(ownerOf({ pid: process.pid, start }).state).toBe('gone')
    },
  )

  it('without a start time belongs to whoever has its process id now', () => {
    expect(ownerOf({ pid: process.pid }).state).toBe('alive')
    expect(ownerOf({ pid: 1 }).state).toBe('alive')
  })

  it('of another host, or with a start time that means nothing, is not proven to be anything', async () => {
    expect(ownerOf({ pid: await deadPid(), host: `not-${hostname()}` }).state).toBe('unknown')
    expect(ownerOf({ pid: process.pid, start: 'yesterday or so' }).state).toBe('unknown')
  })

  it('of another boot has no owner', () => {
    expect(ownerOf({ pid: process.pid, boot: '00000000-0000-0000-0000-000000000000' }).state).toBe('gone')
  })

  it('of a process that ended and was not collected has no owner', async () => {
    const parent = spawn('sh', ['-c', 'true & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
    try {
      const [chunk] = (await once(parent.stdout, 'data')) as [Buffer]
      const pid = Number(chunk.toString())
      // sleep(1), which took the shell's place, never collects it: sooner or later it is a zombie for good.
      await expect.poll(() => ownerOf({ pid }).state).toBe('gone')
    } finally {
      parent.kill('SIGKILL')
    }
  })
})
