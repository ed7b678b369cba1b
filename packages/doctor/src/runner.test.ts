import { existsSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'
import { beforeEach, describe, expect, it } from 'vitest'
import { type Check, type Finding, finding } from './check.ts'
import { CHECKS } from './checks.ts'
import { jsonReport } from './report/json.ts'
import { textReport } from './report/text.ts'
import { detectAll, repairAll } from './runner.ts'
import { makeHome, plant, repair, surroundings } from './testing/home.ts'

let home: string
beforeEach(() => {
  home = makeHome()
})

/** A check that finds a file, and whose repair does what it is told. */
function fileCheck(
  id: string,
  name: string,
  work: (path: string) => void = (path) => rmSync(path),
  destroys = false,
): Check {
  return {
    id,
    async detect({ home }) {
      const path = join(home.dir, name)
      return existsSync(path) ? [finding('error', 'It is there.', `rm ${path}`, { path, fixable: true })] : []
    },
    async repair({ home, effects }) {
      const path = join(home.dir, name)
      await effects.run(`Remove ${name}`, path, async () => work(path), { destroys })
      return effects.outcome
    },
  }
}

const findingsOf = (checks: { findings: Finding[] }[]) => checks.flatMap(({ findings }) => findings)

describe('looking', () => {
  it('makes a finding of a check that throws, and goes on with the others', async () => {
    const broken: Check = {
      id: 'test/broken',
      detect: async () => {
        throw new CoppiceError('unavailable', 'gone', 'It is gone.', { hint: 'mount /x' })
      },
    }
    const found = await detectAll([broken, fileCheck('test/file', 'a')], surroundings(home))
    expect(found.map(({ findings }) => findings)).toEqual([
      [
        {
          checkId: 'test/broken',
          severity: 'unverified',
          message: 'The check could not be made: It is gone.',
          hint: 'mount /x',
          fixable: false,
        },
      ],
      [],
    ])
  })

  it('makes a finding of a check that does not end, and ends what it waits for', async () => {
    let ended: (why: unknown) => void = () => undefined
    const told = new Promise((resolve) => {
      ended = resolve
    })
    const endless: Check = {
      id: 'test/endless',
      limitMs: 50,
      detect: ({ progress }) => {
        progress.signal.addEventListener('abort', () => ended('told'))
        return new Promise(() => undefined)
      },
    }
    const [report] = await detectAll([endless], surroundings(home))
    expect(report?.findings).toMatchObject([{ severity: 'unverified', message: expect.stringContaining('0.05 s') }])
    expect(await told).toBe('told')
  })

  it('runs checks side by side', async () => {
    const { promise, resolve } = Promise.withResolvers<Finding[]>()
    const waits: Check = { id: 'test/waits', detect: () => promise }
    const lets: Check = {
      id: 'test/lets',
      detect: async () => {
        resolve([])
        return []
      },
    }
    expect(findingsOf(await detectAll([waits, lets], surroundings(home)))).toEqual([])
  })

  it('never sends anybody to the doctor for the help that an error names', async () => {
    const circular: Check = {
      id: 'test/circular',
      detect: async () => {
        throw new CoppiceError('unavailable', 'x', 'Broken.', { hint: 'coppice doctor' })
      },
    }
    const [report] = await detectAll([circular], surroundings(home))
    expect(report?.findings[0]?.hint).not.toContain('doctor')
  })
})

describe('repairing', () => {
  it('counts as fixed what a second look does not find', async () => {
    plant(home, 'a', '')
    const report = await repair([fileCheck('test/file', 'a')], home)
    expect(findingsOf(report.checks)).toEqual([])
    expect(report.effects).toMatchObject([{ checkId: 'test/file', result: 'done', sentence: 'Remove a' }])
  })

  it('does not believe a repair that says it worked', async () => {
    plant(home, 'a', '')
    const report = await repair([fileCheck('test/file', 'a', () => undefined)], home)
    expect(findingsOf(report.checks)).toHaveLength(1)
  })

  it('tells what failed, with what to do, beside what is still wrong', async () => {
    const path = plant(home, 'a', '')
    const fail = () => {
      throw Object.assign(new Error('no room'), { code: 'ENOSPC' })
    }
    const report = await repair([fileCheck('test/file', 'a', fail)], home)
    expect(findingsOf(report.checks)).toMatchObject([
      { message: 'It is there.' },
      { message: expect.stringMatching(/^Could not: Remove a\. No room is left/), path, hint: `df -h ${path}` },
    ])
  })

  it('asks before it destroys, and takes no for an answer', async () => {
    const path = plant(home, 'a', '')
    const check = fileCheck('test/file', 'a', undefined, true)
    expect((await repair([check], home)).effects).toMatchObject([{ result: 'declined' }])
    expect(existsSync(path)).toBe(true)
    expect((await repair([check], home, { yes: true })).effects).toMatchObject([{ result: 'done' }])
    expect(existsSync(path)).toBe(false)
  })

  it('only plans in a dry run', async () => {
    const path = plant(home, 'a', '')
    const report = await repair([fileCheck('test/file', 'a', undefined, true)], home, { dryRun: true })
    expect(report.effects).toMatchObject([{ result: 'planned' }])
    expect(findingsOf(report.checks)).toHaveLength(1)
    expect(existsSync(path)).toBe(true)
  })

  it('looks anew when an earlier repair has changed things', async () => {
    plant(home, 'a', '')
    plant(home, 'b', '')
    const both = fileCheck('test/both', 'a', (path) => {
      rmSync(path)
      rmSync(join(home, 'b'))
    })
    const around = surroundings(home)
    const checks = [both, fileCheck('test/later', 'b')]
    const report = await repairAll(checks, await detectAll(checks, around), around, {
      dryRun: false,
      exclusive: true,
      consent: async () => true,
    })
    expect(report.effects.map(({ checkId }) => checkId)).toEqual(['test/both'])
    expect(findingsOf(report.checks)).toEqual([])
  })
})

describe('the report', () => {
  const checks = [
    {
      checkId: 'a/b',
      notes: [],
      findings: [
        { checkId: 'a/b', ...finding('error', 'Bad \u001b[31m thing.', 'rm x', { path: '/x', fixable: true }) },
      ],
    },
    { checkId: 'c/d', notes: ['Fine.'], findings: [] },
  ]

  it('has exactly the promised shape as JSON', () => {
    expect(jsonReport({ checks })).toEqual({
      schemaVersion: 1,
      ok: false,
      checksRun: 2,
      findings: [
        {
          checkId: 'a/b',
          severity: 'error',
          message: 'Bad \u001b[31m thing.',
          path: '/x',
          hint: 'rm x',
          fixable: true,
        },
      ],
    })
    expect(jsonReport({ checks: checks.slice(1) })).toEqual({ schemaVersion: 1, ok: true, checksRun: 1, findings: [] })
  })

  it('is not ok when something could only not be verified', () => {
    const unverified = [
      { checkId: 'a/b', notes: [], findings: [{ checkId: 'a/b', ...finding('unverified', 'Unknown.', 'ls') }] },
    ]
    expect(jsonReport({ checks: unverified }).ok).toBe(false)
  })

  it('is readable, and harmless to a terminal', () => {
    const text = textReport({ checks, effects: [] }, { colour: false, verbose: true, fixed: false })
    expect(text).toBe(
      [
        'error       a/b: Bad  [31m thing.',
        '            at    /x',
        '            next  rm x',
        'ok          c/d',
        '            Fine.',
        '2 checks: 1 error. --fix repairs 1 of them; --dry-run shows how.',
      ].join('\n'),
    )
  })
})

describe('the checks', () => {
  it('have distinct ids of the form area/kebab-case', () => {
    const ids = CHECKS.map(({ id }) => id)
    for (const id of ids) expect(id).toMatch(/^[a-z]+\/[a-z]+(-[a-z]+)*$/)
    expect(new Set(ids).size).toBe(ids.length)
  })
})
