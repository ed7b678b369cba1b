import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Check, finding } from '../check.ts'
import { lastLine, run } from '../host/command.ts'
import { inTrialFolder } from './trial.ts'

/** overlayfs, by mounting one in a mount namespace of its own and writing through it. */
export const overlayCheck: Check = {
  id: 'runtimes/overlay',
  async detect({ progress, note }) {
    return inTrialFolder(async (folder) => {
      for (const name of ['lower', 'upper', 'work', 'merged']) await mkdir(join(folder, name), { mode: 0o755 })
      const script =
        'mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged && : >merged/written'
      const root = process.geteuid?.() === 0 ? [] : ['--user', '--map-root-user']
      const ran = await run('unshare', [...root, '--mount', 'sh', '-c', script], progress, { cwd: folder })
      if (!ran)
        return [finding('unverified', 'overlayfs could not be tried without unshare(1).', 'apt-get install util-linux')]
      if (ran.exitCode !== 0) {
        return [finding('error', `overlayfs does not work here: ${lastLine(ran.text)}`, 'modprobe overlay')]
      }
      note('overlayfs works.')
      return []
    })
  },
}
