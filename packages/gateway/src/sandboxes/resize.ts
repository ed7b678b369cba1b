import type { Driver } from '@coppice/drivers'
import { CoppiceError, type Limits, Progress, type ResizeSandbox } from '@coppice/protocol'
import { configHash } from './config-hash.ts'
import type { Directory } from './directory.ts'
import type { Drivers } from './drivers.ts'
import type { SandboxRecord } from './record.ts'

/** Milliseconds for giving limits back that could not all be changed. */
const TAKE_BACK_MS = 60_000

/**
 * Gives a sandbox other limits: one that runs at once, a stopped one at its next start. What is to hold is in the registry before
 * the driver is asked, and `limits` change when they are in force: a gateway that is killed in between leaves it to the next one.
 * @throws `unsupported/resize`, `failed_precondition/limits_refused` with the limits as they were
 */
export async function resize(
  { directory, drivers }: { directory: Directory; drivers: Drivers },
  record: SandboxRecord,
  change: ResizeSandbox,
  progress: Progress,
): Promise<SandboxRecord> {
  const driver = drivers.byName(record.driver)
  requireResize(driver, drivers)
  const before = await finishResize(directory, driver, record, progress).catch((error: unknown) => {
    // What is asked for now may be what helps: more memory.
    if (isRefusal(error)) return record
    throw error
  })
  const limits = withChange(before.limits, change)
  if (record.state === 'stopped') return directory.update(record.id, (current) => withLimits(current, limits))
  await directory.update(record.id, (current) => ({ ...current, resizing: limits }))
  try {
    await driver.resize?.(record.id, limits, progress)
  } catch (error) {
    // When that fails too, the record says what is left to do.
    await takeBack(directory, driver, before, isRefusal(error)).catch(() => {})
    throw error
  }
  return directory.settle(record.id, (current) => withLimits(current, limits))
}

/**
 * Carries a resize to its end that was cut off, or takes it back where it is refused now. Nothing when there is none.
 * @throws what the driver throws; the record says then what is left to do
 */
export async function finishResize(
  directory: Directory,
  driver: Driver,
  record: SandboxRecord,
  progress: Progress,
): Promise<SandboxRecord> {
  const { id, limits, resizing } = record
  if (resizing === null) return record
  try {
    await driver.resize?.(id, resizing, progress)
    return await directory.settle(id, (current) => withLimits(current, resizing))
  } catch (error) {
    if (!isRefusal(error)) throw error
    // What it was cut off in the middle of may have been half done.
    await driver.resize?.(id, limits, progress)
    return directory.settle(id, (current) => withLimits(current, limits))
  }
}

/** A record with limits that are in force, or will be at the next start. */
export function withLimits(record: SandboxRecord, limits: Limits): SandboxRecord {
  return { ...record, limits, resizing: null, configHash: configHash({ ...record, limits }) }
}

/** A refusal has changed nothing; after anything else nobody knows, so the limits of before are put into force again. */
async function takeBack(
  directory: Directory,
  driver: Driver,
  { id, limits, resizing }: SandboxRecord,
  refused: boolean,
): Promise<void> {
  const left = refused ? resizing : limits
  await directory.settle(id, (current) => ({ ...current, resizing: left }))
  if (refused) return
  // Not the caller's progress: it may be what has ended.
  await driver.resize?.(id, limits, new Progress({ timeoutMs: TAKE_BACK_MS }))
  await directory.settle(id, (current) => ({ ...current, resizing: null }))
}

function isRefusal(error: unknown): boolean {
  return CoppiceError.from(error).reason === 'limits_refused'
}

function withChange(before: Limits, change: ResizeSandbox): Limits {
  const { memoryMB = before.memoryMB, cpus = before.cpus, pids = before.pids } = change
  return { memoryMB, cpus, pids }
}

function requireResize(driver: Driver, drivers: Drivers): void {
  if (driver.capabilities.resize && driver.resize) return
  const able = drivers
    .all()
    .filter(({ capabilities }) => capabilities.resize)
    .map(({ name }) => name)
  throw new CoppiceError('unsupported', 'resize', `The driver ${driver.name} cannot change limits of a sandbox.`, {
    facts: { driver: driver.name, drivers: able },
    hint: `coppice create --driver ${able[0] ?? 'oci'}`,
  })
}
