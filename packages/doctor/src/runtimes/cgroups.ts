import { mkdir, readFile, rmdir } from 'node:fs/promises'
import { type Check, type Finding, finding } from '../check.ts'
import { faultOf } from '../faults.ts'
import { hierarchies } from '../host/cgroups.ts'

/** Controllers that limits, kills and figures need. */
const NEEDED_V1 = ['memory', 'pids', 'cpu', 'cpuacct', 'freezer']
const NEEDED_V2 = ['memory', 'pids', 'cpu']

/** Which cgroups there are, and whether a group can be made in each hierarchy that is used. */
export const cgroupsCheck: Check = {
  id: 'runtimes/cgroups',
  async detect({ note }) {
    const all = await hierarchies()
    const v1 = NEEDED_V1.map((name) => all.find(({ version, options }) => version === 1 && options.includes(name)))
    const unified = all.find(({ version }) => version === 2)
    if (v1.every((found) => found !== undefined)) {
      note(`cgroup version 1${unified ? ', with an empty version 2 beside it' : ''}.`)
      return tryAll([...new Set(v1.map(({ point }) => point))])
    }
    if (!unified) {
      const message = 'No cgroups are mounted that could limit a sandbox.'
      return [finding('error', message, 'mount -t cgroup2 none /sys/fs/cgroup')]
    }
    note('cgroup version 2.')
    const { point } = unified
    const offered = (await readFile(`${point}/cgroup.controllers`, 'latin1')).trim().split(/\s+/)
    const lacking = NEEDED_V2.filter((name) => !offered.includes(name))
    if (lacking.length > 0) {
      const message = `The cgroup controllers ${lacking.join(', ')} are not there.`
      return [finding('error', message, `cat ${point}/cgroup.controllers`, { path: point })]
    }
    return tryAll([point])
  },
}

/** By making a group and taking it away again: only root can say. */
async function tryAll(points: string[]): Promise<Finding[]> {
  if (process.geteuid?.() !== 0) {
    return [
      finding('unverified', 'Whether cgroups can be made can only be tried by root.', 'sudo coppice gateway status'),
    ]
  }
  const findings: Finding[] = []
  for (const point of points) {
    const group = `${point}/coppice-doctor-${process.pid}`
    try {
      await mkdir(group)
      await rmdir(group)
    } catch (error) {
      const { message } = faultOf(error, group)
      findings.push(
        finding('error', `No cgroup can be made in ${point}: ${message}`, `findmnt ${point}`, { path: point }),
      )
    }
  }
  return findings
}
