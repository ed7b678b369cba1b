import type { Driver, DriverSandbox } from '@coppice/drivers'
import { Progress } from '@coppice/protocol'
import type { SessionHub } from '../session/hub.ts'
import type { Directory } from './directory.ts'
import type { Drivers } from './drivers.ts'
import { endedError, endRecord } from './ends.ts'
import type { SandboxRecord } from './record.ts'
import { finishResize } from './resize.ts'

/** Milliseconds that one engine has to say what it holds. */
const LIST_TIMEOUT_MS = 60_000

export interface ReconcileOptions {
  directory: Directory
  drivers: Drivers
  hub: SessionHub
  /** Told what was found and done, one sentence each. */
  log: (message: string, facts: Record<string, unknown>) => void
}

/**
 * Makes the registry agree with what is there, once, before the gateway answers anybody. A gateway may have been killed
 * between any two steps: every intent is carried to its end or taken back. A driver that cannot be asked leaves its entries
 * as they are, because not knowing is not the same as gone.
 */
export async function reconcile(options: ReconcileOptions): Promise<void> {
  const byDriver = Map.groupBy(options.directory.existing(), (record) => record.driver)
  for (const [name, records] of byDriver) {
    const driver = options.drivers.all().find((candidate) => candidate.name === name)
    if (!driver) {
      options.log('entries of a driver that is not offered were left alone', { driver: name, count: records.length })
      continue
    }
    let found: Map<string, DriverSandbox>
    try {
      const listed = await driver.list(new Progress({ timeoutMs: LIST_TIMEOUT_MS }))
      found = new Map(listed.map((sandbox) => [sandbox.id, sandbox]))
    } catch (error) {
      options.log('a driver could not be asked; its entries were left alone', { driver: name, error: String(error) })
      continue
    }
    // Side by side, but not all at once: adoption opens a socket and may write an entry.
    for (let at = 0; at < records.length; at += 16) {
      const some = records.slice(at, at + 16)
      await Promise.all(some.map((record) => settle(options, driver, record, found.get(record.id))))
    }
  }
}

async function settle(
  options: ReconcileOptions,
  driver: Driver,
  record: SandboxRecord,
  found: DriverSandbox | undefined,
): Promise<void> {
  const { directory, hub, log } = options
  const { id } = record
  const log1 = (message: string) => log(message, { sandboxId: id, was: record.state, found: found?.state ?? 'nothing' })
  try {
    if (record.state === 'removing' || (record.state === 'creating' && found?.state !== 'running')) {
      await driver.remove(id, new Progress({ timeoutMs: LIST_TIMEOUT_MS }))
      const interrupted = endRecord('gateway_interrupted', 'The gateway ended while it was being created.')
      const end =
        record.end ?? (record.state === 'creating' ? interrupted : endRecord('removed', 'It was removed on request.'))
      // Nobody dials it any more: its folder of sockets goes.
      hub.release(id, endedError(id, end))
      await directory.settle(id, (current) => ({ ...current, state: 'removed', removedAt: Date.now(), end }))
      log1('a removal that was under way was finished')
    } else if (found?.state === 'running' && record.state === 'stopping') {
      await driver.stop(id, 10_000, new Progress({ timeoutMs: LIST_TIMEOUT_MS }))
      const end = endRecord('stopped', 'It was stopped on request.')
      await directory.settle(id, (current) => ({ ...current, state: 'stopped', end }))
      log1('a stop that was under way was finished')
    } else if (found?.state === 'running') {
      await hub.expect(id, record.token)
      await directory.update(id, (current) => ({
        ...current,
        state: 'running',
        startedAt: current.startedAt ?? Date.now(),
      }))
      log1('adopted')
    } else if (found) {
      if (record.state !== 'stopped') {
        const end = endRecord(found.end?.reason ?? 'killed', found.end?.message ?? 'It ended while no gateway ran.', {
          exitCode: found.end?.exitCode ?? null,
        })
        await directory.settle(id, (current) => ({ ...current, state: 'stopped', end }))
        log1('found ended')
      }
    } else if (record.state !== 'failed') {
      const end = endRecord('vanished', `The driver ${driver.name} does not know it any more; its files are gone.`)
      await directory.settle(id, (current) => ({ ...current, state: 'failed', end }))
      log1('found gone')
    }
    const now = directory.peek(id)
    if (found && now?.resizing && (now.state === 'running' || now.state === 'stopped')) {
      const { limits } = await finishResize(directory, driver, now, new Progress({ timeoutMs: LIST_TIMEOUT_MS }))
      log(`a change of limits that was under way was finished`, { sandboxId: id, limits })
    }
  } catch (error) {
    log(`could not be reconciled and was left as it is: ${String(error)}`, { sandboxId: id, was: record.state })
  }
}
