import type { Driver } from '@coppice/drivers'
import { type EndRecord, Progress, type ResourceUse } from '@coppice/protocol'
import type { SessionHub } from '../session/hub.ts'
import type { Directory } from './directory.ts'
import type { Drivers } from './drivers.ts'
import { endedError, endRecord } from './ends.ts'
import { LastOutput } from './last-output.ts'
import type { SandboxRecord } from './record.ts'
import type { Serial } from './serial.ts'

/** Milliseconds for taking away what a call has begun, when the caller may have gone. */
export const CLEAN_UP_MS = 60_000

/** Milliseconds between two tries to write an end down. */
export const END_RETRY_MS = 5_000

export interface EndingsOptions {
  directory: Directory
  drivers: Drivers
  hub: SessionHub
  /** By the sandbox's id: what is noticed waits for calls that are under way. */
  serial: Serial
}

/** The ends of runs, asked for or noticed: what is written down of each, and that whoever waits is told. */
export class Endings {
  readonly #options: EndingsOptions
  readonly #outputs = new Map<string, LastOutput>()

  constructor(options: EndingsOptions) {
    this.#options = options
    options.drivers.onExit(({ name }, { id, end, use }) => {
      this.#endedForSure({ driver: name, id, end: end ?? undefined, use })
    })
  }

  /** Keeps output that passed, for the end record. */
  recordOutput(id: string, bytes: Buffer): void {
    let output = this.#outputs.get(id)
    if (!output) {
      output = new LastOutput()
      this.#outputs.set(id, output)
    }
    output.push(bytes)
  }

  /** The last output that passed in this run, as text. */
  lastOutput(id: string): string {
    return this.#outputs.get(id)?.text() ?? ''
  }

  /** The record says how it ended before anybody who waits is told. */
  async stopped(id: string, end: EndRecord): Promise<SandboxRecord> {
    const lastOutput = end.lastOutput || this.lastOutput(id)
    const stopped = this.#options.directory.settle(id, (current) => ({
      ...current,
      state: 'stopped',
      end: { ...end, lastOutput },
    }))
    // Also when it could not be written: nobody waits for a disk.
    await stopped.catch(() => {})
    this.#options.hub.release(id, endedError(id, end))
    const record = await stopped
    this.#outputs.delete(id)
    return record
  }

  /** Takes away everything but the record. A removal that fails keeps the state `removing`, so that it is tried again. */
  async discard(id: string, driver: Driver, end: EndRecord): Promise<SandboxRecord> {
    this.#options.hub.release(id, endedError(id, end))
    this.#outputs.delete(id)
    // Not the caller's progress: what was begun must be taken away even when the caller has gone.
    await driver.remove(id, new Progress({ timeoutMs: CLEAN_UP_MS }))
    return this.#options.directory.settle(id, (current) => ({
      ...current,
      state: 'removed',
      removedAt: Date.now(),
      end,
    }))
  }

  /** Asks the driver about a sandbox whose session broke: a sandbox that is gone must not keep its callers waiting. */
  async sessionLost(id: string): Promise<void> {
    const record = this.#options.directory.peek(id)
    if (record?.state !== 'running') return
    const driver = this.#options.drivers.byName(record.driver)
    const found = await driver.inspect(id)
    if (found?.state === 'running') return
    const use = await driver.stats(id).catch(() => null)
    const end = found?.end ?? { reason: 'vanished', message: 'Its driver does not know it any more.' }
    await this.#ended({ driver: driver.name, id, end, use })
  }

  /** Does nothing when the end is known or in somebody's hands. */
  async #ended({ driver, id, end, use }: Noticed): Promise<void> {
    const { directory, drivers, serial } = this.#options
    await serial.run(id, async () => {
      const record = directory.peek(id)
      if ((record?.state !== 'running' && record?.state !== 'stopping') || record.driver !== driver) return
      // The news may be older than a start that was waiting here before it.
      if ((await drivers.byName(driver).inspect(id))?.state === 'running') return
      const { reason = 'killed', message = 'It ended by itself.', exitCode = null } = end ?? {}
      await this.stopped(id, endRecord(reason, message, { use, exitCode }))
    })
  }

  /** A driver tells an end once. When it cannot be written down (a full disk), it is tried again until it can. */
  #endedForSure(noticed: Noticed): void {
    this.#ended(noticed).catch(() => setTimeout(() => this.#endedForSure(noticed), END_RETRY_MS).unref())
  }
}

/** The end of a run that nobody here has asked for. */
interface Noticed {
  driver: string
  id: string
  end: Partial<EndRecord> | undefined
  use: ResourceUse | null
}
