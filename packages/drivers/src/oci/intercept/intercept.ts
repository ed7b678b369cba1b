import { closeSync, fstatSync, openSync, statSync } from 'node:fs'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { InterceptPlan } from '../../driver.ts'
import { runCommand } from '../../host/command.ts'
import { isAlive, type ProcessIdentity } from '../../host/process.ts'
import { type CheckedPlan, checkPlan } from './plan.ts'
import { ruleset } from './ruleset.ts'

/** Marks our routes among those of a namespace, so that those of a plan before are found. Free in iproute2's rt_protos. */
const ROUTE_PROTOCOL = 98

/**
 * A second address of loopback, which is the sandbox's own anyway, like all of 127.0.0.0/8. glibc takes a machine that has 127.0.0.1
 * and no other for one without IPv4: whoever asks for IPv4 addresses alone, and only if there is IPv4 (`AI_ADDRCONFIG`: apt's
 * `ForceIPv4`, `getent ahostsv4`), is told that no name exists. One outside of 127.0.0.0/8 would do too, but programs that look
 * for an address of their own to be called at would take it.
 */
const SECOND_LOOPBACK = '127.198.18.1'

const TIMEOUT_MS = 10_000

/** `command not found` of a shell, and of nsenter. */
const NOT_FOUND = 127

const PACKAGES = 'apt-get install nftables iproute2 util-linux'

/**
 * $1: ranges, one a line. Standard input: rules. Rules come first: a range without rules would lead to the sandbox's own
 * listeners. `ip` prints ranges of 32 and 0 bits without their length.
 */
const SCRIPT = `
set -e
command -v ip >/dev/null || { echo 'ip: not found'; exit ${NOT_FOUND}; }
nft -f -
{
  echo "addr replace ${SECOND_LOOPBACK}/32 dev lo scope host"
  for range in $1; do echo "route replace local $range dev lo proto ${ROUTE_PROTOCOL}"; done
  ip route show table local proto ${ROUTE_PROTOCOL} | while read -r _ range _; do
    case $range in default) range=0.0.0.0/0 ;; */*) ;; *) range=$range/32 ;; esac
    case " $1 " in *" $range "*) ;; *) echo "route del local $range dev lo proto ${ROUTE_PROTOCOL}" ;; esac
  done
} | ip -batch -
`

/** Gateways that were started by a user's shell may have no `sbin` there. */
const PATH = `${process.env.PATH ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`

/**
 * Puts a plan into force in the network namespace of `init`. One command, about 20 ms. `path`: where to look for programs. See
 * `Driver.intercept`.
 */
export async function intercept(
  init: ProcessIdentity,
  plan: InterceptPlan,
  progress: Progress,
  path = PATH,
): Promise<{ ok: boolean; detail: string }> {
  const checked = checkPlan(plan)
  const namespace = openNetwork(init)
  if (namespace === undefined) return { ok: false, detail: 'The sandbox has ended.' }
  try {
    return await apply(namespace, checked, path, progress.within(TIMEOUT_MS))
  } catch (cause) {
    progress.throwIfEnded()
    const missing = cause instanceof CoppiceError && cause.reason === 'program_missing'
    return refused(missing ? 'nsenter: not found' : CoppiceError.from(cause).message, missing)
  } finally {
    closeSync(namespace)
  }
}

async function apply(
  namespace: number,
  { ranges, resolver, ports }: CheckedPlan,
  path: string,
  progress: Progress,
): Promise<{ ok: boolean; detail: string }> {
  const shell = ['sh', '-c', SCRIPT, 'sh', ranges.join(' ')]
  const { exitCode, text } = await runCommand('nsenter', ['--net=/proc/self/fd/3', '--', ...shell], {
    env: { PATH: path },
    input: ruleset({ ranges, resolver, ports }),
    file: namespace,
    progress,
  })
  if (exitCode !== 0) return refused(text, exitCode === NOT_FOUND)
  const numbers = ports.map(({ port }) => port).join(', ')
  return { ok: true, detail: ports.length > 0 ? `On ports ${numbers}, and names.` : 'Names only.' }
}

/**
 * The namespace itself, held open: a PID may mean another process by the time a command looks at it, and the rules would be
 * the host's. Undefined when that very process has ended, or has no namespace of its own.
 */
function openNetwork(init: ProcessIdentity): number | undefined {
  let file: number
  try {
    file = openSync(`/proc/${init.pid}/ns/net`, 'r')
  } catch {
    return undefined
  }
  if (isAlive(init) && fstatSync(file).ino !== statSync('/proc/self/ns/net').ino) return file
  closeSync(file)
  return undefined
}

function refused(text: string, missing: boolean): { ok: false; detail: string } {
  const said = text.trim().split('\n')[0]?.slice(0, 300) || 'it gave no reason'
  const help = missing ? ` (${PACKAGES})` : ''
  return { ok: false, detail: `Connections of programs that know no proxy cannot be led: ${said}${help}` }
}
