import { describe, expect, it } from 'vitest'
import { judge, raiseCommand, raiseTo, shortSentence, tooFew } from './plan.ts'

const UNLIMITED = Number.POSITIVE_INFINITY

describe('the plan for a child', () => {
  it.each([
    ['is enough', 8192, 20_000, undefined],
    ['is more than enough', 100_000, 100_000, undefined],
    ['is unlimited', UNLIMITED, UNLIMITED, undefined],
    ['is low, the hard one not', 256, 20_000, 8192],
    ['is low, the hard one unlimited', 256, UNLIMITED, 8192],
    ['is low, the hard one between', 256, 4096, 4096],
    ['is low and as high as it may be', 4096, 4096, undefined],
    ['is below the least, and as high as it may be', 512, 512, undefined],
  ])('raises the soft limit no further than needed and allowed, when it %s', (_, soft, hard, to) => {
    expect(raiseTo({ soft, hard }, 8192)).toBe(to)
  })

  it.each([
    [8192, 'enough'],
    [UNLIMITED, 'enough'],
    [8191, 'short'],
    [1024, 'short'],
    [1023, 'too-few'],
    [0, 'too-few'],
  ])('judges %d files', (actual, verdict) => {
    expect(judge(actual, 8192)).toBe(verdict)
  })

  it('names a command for the system it is on, which lowers neither limit', () => {
    const limit = { soft: 256, hard: 512 }
    expect(raiseCommand(limit, 8192, 'linux', 77)).toBe('sudo prlimit --pid 77 --nofile=256:8192')
    expect(raiseCommand({ soft: 512, hard: UNLIMITED }, 8192, 'linux', 77)).toBe(
      'sudo prlimit --pid 77 --nofile=512:unlimited',
    )
    expect(raiseCommand(limit, 8192, 'darwin', 77)).toBe('sudo launchctl limit maxfiles 8192 unlimited')
    expect(raiseCommand(limit, 8192, 'freebsd', 77)).toBe('ulimit -n 8192')
  })

  it('says the figures, what stands in the way and what to do', () => {
    const limit = { soft: 256, hard: 4096 }
    expect(shortSentence(4096, limit, 8192, 'do this')).toBe(
      'Builds may open 4096 files at a time, wanted are 8192 (soft limit 256, hard limit 4096). To raise it: do this',
    )
    expect(tooFew(512, { soft: 256, hard: 512 }, 8192, 'do this')).toMatchObject({
      code: 'resource_exhausted',
      reason: 'open_file_limit',
      retryable: false,
      facts: { limit: 'RLIMIT_NOFILE', actual: '512', hard: '512', wanted: 8192 },
      hint: 'do this',
    })
  })
})
