import { join } from 'node:path'
import { type Check, finding } from '../check.ts'
import { firstLine, lastLine, run } from '../host/command.ts'
import { inTrialFolder, makeBundle } from './trial.ts'

/** crun, where it is installed: does it run something? Nothing here needs it, so a failure is a warning. */
export const crunCheck: Check = {
  id: 'runtimes/crun',
  limitMs: 20_000,
  async detect({ progress, note }) {
    const version = await run('crun', ['--version'], progress)
    if (!version) {
      note('crun is not installed; it is not needed.')
      return []
    }
    if (process.geteuid?.() !== 0) return [rootNeeded('crun')]
    return inTrialFolder(async (folder) => {
      const bundle = await makeBundle(folder, 'crun', progress)
      const id = `coppice-doctor-${process.pid}`
      const ran = await run('crun', ['--root', join(folder, 'state'), 'run', '--bundle', bundle, id], progress)
      if (ran?.exitCode === 0) {
        note(`${firstLine(version.text)} runs.`)
        return []
      }
      const message = `crun is installed and does not run here: ${lastLine(ran?.text ?? '')}. runc is what sandboxes use.`
      return [finding('warning', message, 'stat -fc %T /sys/fs/cgroup')]
    })
  },
}

/** gVisor's runsc, where it is installed. */
export const runscCheck: Check = {
  id: 'runtimes/runsc',
  limitMs: 30_000,
  async detect({ progress, note }) {
    const version = await run('runsc', ['--version'], progress)
    if (!version) {
      note('runsc (gVisor) is not installed; it is not needed.')
      return []
    }
    if (process.geteuid?.() !== 0) return [rootNeeded('runsc')]
    return inTrialFolder(async (folder) => {
      const args = ['--root', join(folder, 'state'), '--network=none', 'do', 'true']
      const ran = await run('runsc', args, progress, { cwd: folder })
      if (ran?.exitCode === 0) {
        note(`${firstLine(version.text)} runs.`)
        return []
      }
      const message = `runsc is installed and does not run here: ${lastLine(ran?.text ?? '')}. runc is what sandboxes use.`
      return [finding('warning', message, 'runsc --network=none do true')]
    })
  },
}

function rootNeeded(program: string) {
  return finding('unverified', `Whether ${program} works can only be tried by root.`, `sudo ${program} --version`)
}
