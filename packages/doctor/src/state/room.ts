import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { freeRoom } from '@coppice/limits'
import { type Check, type Finding, finding } from '../check.ts'
import { isAbsent, quoted } from '../faults.ts'
import { bytes } from '../words.ts'

/** Less free room than this stops a base image from being made, bytes. */
const LITTLE_BYTES = 2 * 1024 ** 3
/** Less than this and nothing can be recorded, bytes. */
const NONE_BYTES = 64 * 1024 ** 2
/** An unpacked Debian has about this many files. */
const LITTLE_INODES = 20_000

/** Free room and inodes where the state folder lies. */
export const roomCheck: Check = {
  id: 'state/free-room',
  async detect(ctx) {
    const { dir } = ctx.home
    const found = freeRoom(await statfs(await existing(dir)))
    const { bytes: free = Number.POSITIVE_INFINITY, inodes = Number.POSITIVE_INFINITY } = found
    const said = found.bytes === undefined ? 'An unknown number of bytes' : bytes(free)
    ctx.note(`${said} and ${found.inodes ?? 'any number of'} inodes are free for ${dir}.`)
    const findings: Finding[] = []
    const path = { path: dir }
    const hint = `df -h ${quoted(dir)}`
    if (free < NONE_BYTES)
      findings.push(finding('error', `The disk of ${dir} is full: ${bytes(free)} left.`, hint, path))
    else if (free < LITTLE_BYTES)
      findings.push(finding('warning', `Only ${bytes(free)} are left for ${dir}.`, hint, path))
    if (inodes < LITTLE_INODES) {
      const severity = inodes < 100 ? 'error' : 'warning'
      findings.push(finding(severity, `Only ${inodes} inodes are left for ${dir}.`, `df -i ${quoted(dir)}`, path))
    }
    return findings
  },
}

/** The folder, or the nearest one above it that is there. */
export async function existing(path: string): Promise<string> {
  for (let folder = path; ; folder = dirname(folder)) {
    try {
      await statfs(folder)
      return folder
    } catch (error) {
      if (!isAbsent(error) || folder === '/') throw error
    }
  }
}
