import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Check, type Finding, finding } from '../check.ts'
import { isAbsent } from '../faults.ts'

/** No copy of this program is older: 2025-01-01. */
const EARLIEST = Date.UTC(2025, 0, 1)
/** Files this far in the future were written with another clock, milliseconds. */
const AHEAD_MS = 5 * 60_000
/** A gateway's clock may differ by this much, milliseconds. Its `Date` header counts whole seconds. */
const APART_MS = 5_000

/** The clock: leases, retention and certificates depend on it. */
export const clockCheck: Check = {
  id: 'host/clock',
  async detect({ home, gateway, note }) {
    const now = Date.now()
    note(`It is ${new Date(now).toISOString()}.`)
    const findings: Finding[] = []
    if (now < EARLIEST) {
      findings.push(
        finding('error', `The clock says ${new Date(now).toISOString()}, which is past.`, 'timedatectl set-ntp true'),
      )
    }
    const newest = await newestIn(home.dir)
    if (newest && newest.at - now > AHEAD_MS) {
      const message = `${newest.path} was changed at ${new Date(newest.at).toISOString()}, which is in the future: the clock was set back.`
      findings.push(finding('warning', message, 'timedatectl', { path: newest.path }))
    }
    const state = await gateway
    if (state.kind === 'running' && state.date !== null && Math.abs(state.date - Date.now()) > APART_MS) {
      const seconds = Math.round((state.date - Date.now()) / 1000)
      findings.push(
        finding('warning', `The clock of the gateway at ${state.url} differs by ${seconds} s.`, 'timedatectl'),
      )
    }
    return findings
  },
}

/** The newest change right in a folder. */
async function newestIn(folder: string): Promise<{ path: string; at: number } | undefined> {
  const names = await readdir(folder).catch((error) => {
    if (isAbsent(error)) return []
    throw error
  })
  let newest: { path: string; at: number } | undefined
  for (const name of names) {
    const path = join(folder, name)
    const found = await stat(path).catch(() => undefined)
    if (found && found.mtimeMs > (newest?.at ?? 0)) newest = { path, at: found.mtimeMs }
  }
  return newest
}
