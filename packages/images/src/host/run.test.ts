import { Progress } from '@coppice/protocol/wire'
import { describe, expect, it } from 'vitest'
import { requirePrograms } from './programs.ts'
import { run, runChecked } from './run.ts'

const none = Progress.none()
const sh = (script: string) => ['sh', '-c', script]

async function* chunks(count: number) {
  for (let i = 0; i < count; i++) yield Buffer.alloc(65_536, 'x')
}

describe('programs of the host', () => {
  it('give their status and the end of what they complained about', async () => {
    expect(await run(sh('echo bad >&2; exit 3'), {}, none)).toEqual({ status: 3, stderr: 'bad\n' })
    expect((await run(sh('kill -9 $$'), {}, none)).status).toBe('SIGKILL')
    const { stderr } = await run(sh('yes | head -c 100000 >&2; echo end >&2'), {}, none)
    expect([stderr.length, stderr.endsWith('end\n')]).toEqual([16_384, true])
  })

  it('get all of their input, and report line by line', async () => {
    const lines: string[] = []
    const { status } = await run(
      sh('wc -c >&3; echo two >&3'),
      { input: chunks(100), onReport: (line) => lines.push(line) },
      none,
    )
    expect([status, ...lines]).toEqual([0, '6553600', 'two'])
  })

  it('are judged by their status when they end before their input does', async () => {
    expect((await run(sh('exit 7'), { input: chunks(1000) }, none)).status).toBe(7)
  })

  it('are killed when their input fails, and the failure is thrown', async () => {
    async function* failing() {
      yield* chunks(1)
      throw new RangeError('no more')
    }
    await expect(run(['sleep', '100'], { input: failing() }, none)).rejects.toThrow(RangeError)
  })

  it('are killed when the progress ends', async () => {
    const abort = new AbortController()
    const running = run(
      sh('echo started >&3; exec sleep 100'),
      { onReport: () => abort.abort() },
      new Progress({ signal: abort.signal }),
    )
    await expect(running).rejects.toMatchObject({ code: 'cancelled' })
  })

  it('say what went wrong when they must succeed', async () => {
    await expect(runChecked(sh('echo why >&2; exit 1'), {}, none)).rejects.toMatchObject({
      code: 'internal',
      reason: 'program_failed',
      message: '"sh" failed (1): why',
    })
  })

  it('that are not installed are named, with the package to install', async () => {
    const missing = { code: 'failed_precondition', reason: 'program_missing', hint: 'apt-get install no-such-program' }
    await expect(run(['no-such-program'], {}, none)).rejects.toMatchObject(missing)
    await expect(requirePrograms('sh', 'no-such-program')).rejects.toMatchObject(missing)
    await requirePrograms('sh', 'tar')
  })
})
