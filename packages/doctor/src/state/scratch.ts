import { constants } from 'node:fs'
import { access, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { resolve } from 'node:path'
import { freeRoom } from '@coppice/limits'
import { type Check, type Finding, finding } from '../check.ts'
import { quoted } from '../faults.ts'
import { mountOf, mounts } from '../host/mounts.ts'
import { bytes } from '../words.ts'

/** A build of a large image needs more than this, bytes. */
const LITTLE_BYTES = 4 * 1024 ** 3

/** Where builds and imports put what they are working on: `COPPICE_SCRATCH_DIR`, else the system's own folder. */
export const scratchCheck: Check = {
  id: 'state/scratch-folder',
  async detect({ env, note }) {
    const dir = resolve(env.COPPICE_SCRATCH_DIR || tmpdir())
    const set = env.COPPICE_SCRATCH_DIR ? 'COPPICE_SCRATCH_DIR' : 'the scratch folder'
    const at = { path: dir }
    try {
      await access(dir, constants.R_OK | constants.W_OK | constants.X_OK)
    } catch (error) {
      const message = `${set} is ${dir}, which cannot be used: ${(error as Error).message}.`
      return [finding('error', message, `install -d -m 1777 ${quoted(dir)}`, at)]
    }
    const { bytes: free } = freeRoom(await statfs(dir))
    const said = free === undefined ? 'an unknown number of bytes' : bytes(free)
    const mount = mountOf(dir, await mounts())
    const inMemory = mount?.type === 'tmpfs' || mount?.type === 'ramfs'
    note(`The scratch folder is ${dir} on ${mount?.type ?? 'an unknown file system'}, ${said} free.`)
    const findings: Finding[] = []
    const elsewhere = 'export COPPICE_SCRATCH_DIR=/var/tmp'
    if (inMemory) {
      const message = `${set} is ${dir}, which is in memory (${mount?.type}): large builds take memory from everything else.`
      findings.push(finding('warning', message, elsewhere, at))
    }
    if (free !== undefined && free < LITTLE_BYTES) {
      const message = `${set} is ${dir}, where only ${bytes(free)} are free.`
      findings.push(finding('warning', message, dir === '/var/tmp' ? `df -h ${quoted(dir)}` : elsewhere, at))
    }
    return findings
  },
}
