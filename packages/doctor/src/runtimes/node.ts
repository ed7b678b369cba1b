import { type Check, finding } from '../check.ts'
import { lastLine, run } from '../host/command.ts'

/** The oldest Node that runs TypeScript as it is. */
const OLDEST = [22, 18] as const

/** The Node that everything runs on. */
export const nodeCheck: Check = {
  id: 'runtimes/node',
  async detect({ progress, note }) {
    const program = 'console.log(process.versions.node)'
    const ran = await run(process.execPath, ['-e', program], progress)
    if (ran?.exitCode !== 0) {
      const message = `${process.execPath} does not run: ${lastLine(ran?.text ?? 'it is gone')}`
      return [finding('error', message, './quickstart.sh', { path: process.execPath })]
    }
    const version = ran.text.trim()
    note(`Node ${version} (${process.execPath}).`)
    const [major = 0, minor = 0] = version.split('.').map(Number)
    if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) return []
    const message = `Node ${version} is older than ${OLDEST.join('.')}.`
    return [finding('error', message, './quickstart.sh', { path: process.execPath })]
  },
}
