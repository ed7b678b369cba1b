import type { ContainerInspection, EngineEvent } from '@coppice/engines'
import { describe, expect, test } from 'vitest'
import type { SandboxEnd } from '../lifecycle/record.ts'
import { refineEnd } from './end.ts'

const at = 1_000_000
const killed: SandboxEnd = { reason: 'killed', message: 'It was killed.', exitCode: null, at }
const exited: SandboxEnd = { reason: 'exited', message: 'It ended.', exitCode: 0, at }
const container = (state: Partial<ContainerInspection['State']>) =>
  ({ State: { Running: false, ExitCode: 137, OOMKilled: false, ...state } }) as ContainerInspection
const event = (action: string, when = at - 100): EngineEvent => ({
  type: 'container',
  action,
  id: 'c',
  attributes: {},
  at: when,
})
const refine = (
  end: SandboxEnd,
  found: ContainerInspection | undefined,
  events: EngineEvent[] = [],
  killedForMemory: boolean | undefined = undefined,
) => refineEnd(end, { container: found, events, killedForMemory }, undefined, 'Docker')

describe('an end that the engine knows more about', () => {
  test('stays as it is when the engine knows nothing else', () => {
    expect(refine(killed, container({}))).toEqual(killed)
    expect(refine(exited, container({ ExitCode: 0 }))).toEqual(exited)
  })

  test('is that the files are gone when the container is', () => {
    expect(refine(exited, undefined)).toMatchObject({ reason: 'vanished', exitCode: null })
  })

  test('is a lack of memory when the kernel says so, whatever the engine says', () => {
    expect(refine(killed, container({}), [], true)).toMatchObject({ reason: 'oom_killed' })
    expect(refine(killed, container({ OOMKilled: true }), [event('oom')], false)).toMatchObject({ reason: 'killed' })
  })

  test('is a lack of memory by the engine’s word only right after it saw one, and when nobody asked for a kill', () => {
    const oom = container({ OOMKilled: true })
    expect(refine(killed, oom, [event('oom')])).toMatchObject({ reason: 'oom_killed' })
    expect(refine(killed, oom, [])).toMatchObject({ reason: 'killed' })
    expect(refine(killed, oom, [event('oom', at - 60_000)])).toMatchObject({ reason: 'killed' })
    expect(refine(killed, oom, [event('oom'), event('kill')])).toMatchObject({ reason: 'killed' })
  })

  test('has the exit code of an init that ended by itself', () => {
    expect(refine(killed, container({ ExitCode: 3 }))).toMatchObject({ reason: 'exited', exitCode: 3 })
  })

  test('says when it was asked for through the engine', () => {
    expect(refine(killed, container({}), [event('kill')])).toMatchObject({
      reason: 'killed',
      message: expect.stringContaining('through Docker'),
    })
    expect(refine(exited, container({ ExitCode: 0 }), [event('kill'), event('stop')])).toMatchObject({
      reason: 'exited',
      exitCode: 0,
      message: expect.stringContaining('through Docker'),
    })
  })

  test('says when the engine was going away or coming back at that moment, and only then', () => {
    const during = (from: number, until: number | null) =>
      refineEnd(killed, { container: container({}), events: [], killedForMemory: false }, { from, until }, 'Docker')
        .message
    expect(during(at - 1000, null)).toContain('started again')
    expect(during(at - 60_000, at + 1000)).toContain('started again')
    expect(during(at - 90_000, at - 60_000)).toBe(killed.message)
    expect(during(at + 60_000, null)).toBe(killed.message)
  })
})
