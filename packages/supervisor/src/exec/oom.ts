import type { ExecResult } from '@coppice/protocol/wire'
import { readCounter } from '../scope/cgroup.ts'
import type { OomVerdict, WaitStatus } from '../scope/kill-scope.ts'

/** OOM kills that the kernel has counted since boot, in the whole machine. */
export function oomKillsOfMachine(): number {
  return readCounter('/proc/vmstat', 'oom_kill')
}

/**
 * `oomKilled` of a result. Where the exec's memory cgroup does not tell, it is `probable` when a SIGKILL that was not ours
 * ended the program and the machine saw an OOM kill meanwhile.
 */
export function oomVerdict(
  verdict: OomVerdict,
  status: WaitStatus | 'unknown',
  killedByUs: boolean,
  machineKills: number,
): ExecResult['oomKilled'] {
  if (verdict !== 'unknown') return verdict
  const killed = status !== 'unknown' && status.signal === 'SIGKILL' && !killedByUs
  return killed && machineKills > 0 ? 'probable' : false
}
