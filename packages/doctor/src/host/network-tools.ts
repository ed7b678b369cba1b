import { type Check, type Finding, finding } from '../check.ts'
import { lastLine, run } from './command.ts'

/** What each tool is tried with, in a network namespace of its own, and the package that has it. */
const TOOLS = [
  { program: 'ip', script: 'ip link set lo up', package: 'iproute2' },
  { program: 'nft', script: 'nft add table inet coppice_doctor', package: 'nftables' },
] as const

/** `ip` and `nft`: with them programs that know no proxy reach what their sandbox may reach. */
export const networkToolsCheck: Check = {
  id: 'host/network-tools',
  async detect({ progress, note }) {
    const findings: Finding[] = []
    for (const { program, script, package: name } of TOOLS) {
      const version = await run(program, ['-V'], progress)
      if (!version) {
        const message = `${program} is not installed: programs in sandboxes that know no proxy reach nothing.`
        findings.push(finding('warning', message, `apt-get install ${name}`))
        continue
      }
      const user = process.geteuid?.() === 0 ? [] : ['--user', '--map-root-user']
      const ran = await run('unshare', [...user, '--net', 'sh', '-c', script], progress)
      if (!ran) {
        const message = `Whether ${program} works could not be tried without unshare(1).`
        findings.push(finding('unverified', message, 'apt-get install util-linux'))
      } else if (ran.exitCode === 0) note(`${program} works.`)
      else
        findings.push(
          finding(
            'warning',
            `${program} does not work: ${lastLine(ran.text)}`,
            `modprobe ${program === 'nft' ? 'nf_tables' : 'dummy'}`,
          ),
        )
    }
    return findings
  },
}
