import type { Driver } from '@coppice/drivers'
import type { Limits, SandboxInfo, SandboxInspection } from '@coppice/protocol'
import type { SandboxRecord } from './record.ts'

const MiB = 1024 * 1024

/** A sandbox as asked for and as its driver has it. A driver that cannot be asked is said, never guessed. */
export async function inspectSandbox(
  record: SandboxRecord,
  info: SandboxInfo,
  driver: Driver | undefined,
): Promise<SandboxInspection> {
  const actual = driver && record.state !== 'removed' ? await actualOf(driver, record.id) : null
  return { ...info, configHash: record.configHash, actual, drift: actual ? driftOf(record, actual) : [] }
}

async function actualOf(driver: Driver, id: string): Promise<SandboxInspection['actual']> {
  try {
    const found = await driver.inspect(id)
    // Its files went while it was stopped: how its run ended stays as it was.
    if (!found || found.end?.reason === 'vanished') return { state: 'gone', limits: {} }
    if (found.state === 'stopped') return { state: 'stopped', limits: {} }
    const { memoryLimitBytes, pidsLimit, cpusLimit } = await driver.stats(id)
    const limits: Partial<Limits> = {}
    if (memoryLimitBytes !== null) limits.memoryMB = Math.round(memoryLimitBytes / MiB)
    if (pidsLimit !== null) limits.pids = pidsLimit
    if (cpusLimit !== null) limits.cpus = cpusLimit
    return { state: 'running', limits }
  } catch {
    return null
  }
}

function driftOf(record: SandboxRecord, actual: NonNullable<SandboxInspection['actual']>): string[] {
  const drift: string[] = []
  const expected = record.state === 'running' || record.state === 'stopped' ? record.state : undefined
  if (expected && actual.state !== expected)
    drift.push(`It is recorded as ${expected}, the driver says ${actual.state}.`)
  for (const name of ['memoryMB', 'pids', 'cpus'] as const) {
    const [asked, found] = [record.limits[name], actual.limits[name]]
    // A quota is whole microseconds: a thousandth of a core is rounding.
    if (found !== undefined && Math.abs(found - asked) > 0.001)
      drift.push(`${name} was asked to be ${asked} and is ${found}.`)
  }
  return drift
}
