import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type BuildStep, runBuildStep } from './build-step.ts'
import { OpenFileGuard } from './guard.ts'

const STEP = fileURLToPath(new URL('./testing/hungry-step.mjs', import.meta.url))

describe('a build step', () => {
  let dir: string
  let log: string
  const guard = new OpenFileGuard({}, () => undefined)
  const run = (step: Omit<BuildStep, 'log'>, progress = Progress.none()) =>
    runBuildStep(guard, { log, ...step }, progress)
  const sh = (script: string) => ['sh', '-c', script]
  /** It has 64 files, hard, whatever the guard gave it, and so the error is the kernel's. */
  const hungry = (failure = 1) => [
    'sh',
    '-c',
    'ulimit -n 64; exec "$@"',
    'sh',
    process.execPath,
    STEP,
    dir,
    String(failure),
  ]

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'coppice-step-'))
    log = join(dir, 'log')
  })
  afterEach(() => rm(dir, { recursive: true }))

  it('that has too many files open is run once more, with less at a time and no compiler cache', async () => {
    const env = { ...process.env, CARGO_BUILD_JOBS: '8', RUSTC_WRAPPER: '/usr/bin/sccache' }
    const result = await run({ argv: hungry(9), env })
    expect(result).toEqual({
      status: 0,
      tries: [
        { status: 9, tooManyFiles: true },
        { status: 0, tooManyFiles: false },
      ],
    })
    const lines = (await readFile(log, 'utf8')).split('\n').filter((line) => line !== '')
    expect(lines).toEqual([
      'jobs=8 wrapper=/usr/bin/sccache',
      expect.stringContaining('failed: EMFILE'),
      expect.stringContaining('Too many open files. Once more'),
      'jobs=1 wrapper=',
    ])
  })

  it('that fails a second time ends with its own status, and both logs are kept', async () => {
    const script = 'echo "try $((1 + $(grep -c ^try "$LOG")))"; echo "os error 24" >&2; exit 37'
    const result = await run({ argv: sh(script), env: { ...process.env, LOG: log } })
    expect(result.status).toBe(37)
    expect(result.tries).toEqual(Array(2).fill({ status: 37, tooManyFiles: true }))
    const text = await readFile(log, 'utf8')
    expect(text).toMatch(/^try 1$/m)
    expect(text).toMatch(/^try 2$/m)
    expect(text.match(/os error 24/g)).toHaveLength(2)
  })

  it('whose second try fails for another reason ends with that', async () => {
    const script = 'if [ "$MAX_JOBS" = 1 ]; then echo "syntax error"; exit 3; fi; echo ProcessFdQuotaExceeded; exit 1'
    expect(await run({ argv: sh(script), env: { PATH: process.env.PATH } })).toMatchObject({
      status: 3,
      tries: [{ tooManyFiles: true }, { tooManyFiles: false }],
    })
  })

  it('takes other arguments for the second try where it is given some', async () => {
    const result = await run({ argv: sh('echo EMFILE; exit 1'), sparingArgv: sh('exit 5') })
    expect(result.status).toBe(5)
  })

  it.each([
    ['fails for another reason', 'echo "no such file"; exit 4', 4],
    ['succeeds although it said so', 'echo "warning: Too many open files, slower now"', 0],
    ['is killed', 'kill -9 $$', 'SIGKILL'],
  ])('that %s is run once', async (_, script, status) => {
    expect(await run({ argv: sh(script) })).toMatchObject({ status, tries: [{ status, tooManyFiles: false }] })
  })

  it('passes its output on as it comes, all of it', async () => {
    const chunks: Buffer[] = []
    await run({ argv: sh('head -c 3000000 /dev/zero; echo end >&2'), onOutput: (chunk) => void chunks.push(chunk) })
    const seen = Buffer.concat(chunks)
    expect(seen.length).toBe(3_000_004)
    expect(await readFile(log)).toEqual(seen)
  })

  it('that is not there is an error, and one that is cancelled is killed', async () => {
    await expect(run({ argv: ['coppice-no-such-program'] })).rejects.toMatchObject({ code: 'ENOENT' })
    const end = new AbortController()
    const running = run(
      { argv: sh('echo begun; exec sleep 1000'), onOutput: () => end.abort() },
      new Progress({ signal: end.signal }),
    )
    await expect(running).rejects.toMatchObject({ code: 'cancelled' })
  })
})
