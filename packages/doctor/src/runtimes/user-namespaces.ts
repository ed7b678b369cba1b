import { readFile } from 'node:fs/promises'
import { type Check, finding } from '../check.ts'
import { lastLine, run } from '../host/command.ts'

/** Switches that forbid user namespaces, and the value with which they do. */
const SWITCHES: readonly [string, string, string][] = [
  ['user.max_user_namespaces', '0', '65536'],
  ['kernel.unprivileged_userns_clone', '0', '1'],
  ['kernel.apparmor_restrict_unprivileged_userns', '1', '0'],
]

/** User namespaces, by running a program as root of one. */
export const userNamespacesCheck: Check = {
  id: 'runtimes/user-namespaces',
  async detect({ progress, note }) {
    const ran = await run('unshare', ['--user', '--map-root-user', 'id', '-u'], progress)
    if (!ran) {
      return [
        finding('unverified', 'User namespaces could not be tried without unshare(1).', 'apt-get install util-linux'),
      ]
    }
    if (ran.exitCode === 0 && ran.text.trim() === '0') {
      note('User namespaces work.')
      return []
    }
    return [finding('error', `User namespaces do not work here: ${lastLine(ran.text)}`, await remedy())]
  },
}

async function remedy(): Promise<string> {
  for (const [name, forbids, allows] of SWITCHES) {
    const path = `/proc/sys/${name.replaceAll('.', '/')}`
    const value = await readFile(path, 'utf8').catch(() => '')
    if (value.trim() === forbids) return `sysctl -w ${name}=${allows}`
  }
  return 'dmesg | tail -n 20'
}
