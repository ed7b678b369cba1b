/**
 * Says as JSON what the guard does in this process: the limits of three children that it starts one after the other and of
 * this process afterwards, or the error that it throws.
 */
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { CoppiceError } from '@coppice/protocol/wire'
import { OpenFileGuard } from '../guard.ts'
import { readOpenFileLimit } from '../read-limit.ts'

/** What is said. */
export interface GuardReport {
  /** Of each child: soft limit, hard limit, and whether its process id was that of the program. */
  children: string[]
  after: { soft: number; hard: number }
  warnings: string[]
  missing: string
  error?: { code: string; reason: string; hint: string | undefined; facts: Record<string, unknown> }
}

const warnings: string[] = []
const guard = new OpenFileGuard(process.env, (message) => warnings.push(message))
const report: GuardReport = { children: [], after: { soft: 0, hard: 0 }, warnings, missing: '' }
try {
  for (let at = 0; at < 3; at++) {
    const child = await guard.spawn(['sh', '-c', 'ulimit -Sn; ulimit -Hn; echo $$'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [soft, hard, pid] = child.stdout ? (await text(child.stdout)).trim().split('\n') : []
    report.children.push(`${soft} ${hard} ${Number(pid) === child.pid ? 'own pid' : 'other pid'}`)
  }
  const absent = await guard.spawn(['coppice-no-such-program'], { stdio: 'ignore' })
  const [error] = (await once(absent, 'error')) as [NodeJS.ErrnoException]
  report.missing = error.code ?? ''
} catch (error) {
  const { code, reason, hint, facts } = CoppiceError.from(error)
  report.error = { code, reason, hint, facts }
}
report.after = await readOpenFileLimit()
process.stdout.write(JSON.stringify(report))
