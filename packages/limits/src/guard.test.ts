import { execFileSync } from 'node:child_process'
import { describe, expect, it } from 'vitest'
import { parseUlimit } from './parse.ts'
import { readOpenFileLimit } from './read-limit.ts'
import type { GuardReport } from './testing/report-guard.ts'
import { type Limits, obstacle, runLimited } from './testing/run-limited.ts'

const HARD = 10_000

async function report(limits: Limits, env: NodeJS.ProcessEnv = {}): Promise<GuardReport> {
  const defaults = { COPPICE_BUILD_NOFILE_LIMIT: undefined, COPPICE_VM_BUILD_NOFILE_LIMIT: undefined }
  return (await runLimited(limits, './report-guard.ts', [], { ...defaults, ...env })).said as GuardReport
}

describe('the guard of open files', async () => {
  const reason = await obstacle(HARD)
  it.runIf(reason === undefined)('reads what the shell says', async () => {
    const shell = parseUlimit(execFileSync('sh', ['-c', 'ulimit -Sn; ulimit -Hn'], { encoding: 'utf8' }))
    expect(await readOpenFileLimit()).toEqual(shell)
  })

  it('raises the soft limit of a child and of nobody else, and touches no hard limit', async (ctx) => {
    if (reason) ctx.skip(reason)
    const said = await report({ soft: 256, hard: HARD })
    expect(said.children).toEqual(Array(3).fill(`8192 ${HARD} own pid`))
    expect(said.after).toEqual({ soft: 256, hard: HARD })
    expect(said.warnings).toEqual([])
    expect(said.missing).toBe('ENOENT')
  })

  it('raises to what is configured', async (ctx) => {
    if (reason) ctx.skip(reason)
    const said = await report({ soft: 256, hard: HARD }, { COPPICE_BUILD_NOFILE_LIMIT: '9000' })
    expect(said.children).toEqual(Array(3).fill(`9000 ${HARD} own pid`))
    const older = await report({ soft: 256, hard: HARD }, { COPPICE_VM_BUILD_NOFILE_LIMIT: '2000' })
    expect(older.children).toEqual(Array(3).fill(`2000 ${HARD} own pid`))
  })

  it('does nothing where there is enough, and never lowers', async (ctx) => {
    if (reason) ctx.skip(reason)
    const said = await report({ soft: 9999, hard: HARD }, { COPPICE_BUILD_NOFILE_LIMIT: '2000' })
    expect(said).toMatchObject({ children: Array(3).fill(`9999 ${HARD} own pid`), warnings: [], missing: 'ENOENT' })
  })

  it('stops at the hard limit, and warns once with the figures', async (ctx) => {
    if (reason) ctx.skip(reason)
    const said = await report({ soft: 256, hard: 4096 })
    expect(said.children).toEqual(Array(3).fill('4096 4096 own pid'))
    expect(said.warnings).toEqual([
      expect.stringMatching(
        /^Builds may open 4096 files at a time, wanted are 8192 \(soft limit 256, hard limit 4096\)\. .*sudo prlimit --pid \d+ --nofile=256:8192$/,
      ),
    ])
  })

  it('begins nothing below 1024, and names the limit and the command that raises it', async (ctx) => {
    if (reason) ctx.skip(reason)
    const said = await report({ soft: 256, hard: 1023 })
    expect(said).toMatchObject({
      children: [],
      warnings: [],
      error: {
        code: 'resource_exhausted',
        reason: 'open_file_limit',
        facts: { limit: 'RLIMIT_NOFILE', actual: '1023', soft: '256', hard: '1023', wanted: 8192 },
        hint: expect.stringMatching(/^sudo prlimit --pid \d+ --nofile=256:8192$/),
      },
    })
    expect((await report({ soft: 256, hard: 1024 })).children).toEqual(Array(3).fill('1024 1024 own pid'))
  })

  it('begins nothing with a bad setting, however many files there are', async (ctx) => {
    if (reason) ctx.skip(reason)
    const said = await report({ soft: HARD, hard: HARD }, { COPPICE_BUILD_NOFILE_LIMIT: '1000' })
    expect(said).toMatchObject({ children: [], error: { code: 'invalid_argument', reason: 'invalid_nofile_limit' } })
  })
})
