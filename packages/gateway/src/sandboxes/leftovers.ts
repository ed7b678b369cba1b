import { Progress } from '@coppice/protocol'
import type { Directory } from './directory.ts'
import type { Drivers } from './drivers.ts'
import { CLEAN_UP_MS, type Endings } from './endings.ts'
import { endRecord } from './ends.ts'
import type { SandboxRecord } from './record.ts'
import { finishResize } from './resize.ts'
import type { Serial } from './serial.ts'

export interface LeftoversOptions {
  directory: Directory
  drivers: Drivers
  endings: Endings
  /** By the sandbox's id: what is left to do is done between calls that change its state. */
  serial: Serial
}

/**
 * What calls that were cut off have left to do: their engine did not answer, the disk was full, or the gateway before this one ended.
 * Unlike `reconcile`, for as long as the gateway runs.
 */
export class Leftovers {
  readonly #options: LeftoversOptions
  /** Being created when this began: by a gateway that is gone. */
  readonly #interrupted: ReadonlySet<string>

  constructor(options: LeftoversOptions) {
    this.#options = options
    const existing = options.directory.existing()
    this.#interrupted = new Set(existing.filter(({ state }) => state === 'creating').map(({ id }) => id))
  }

  /**
   * Carries changes of limits and removals to their end, and takes back creations of a gateway that is gone. What cannot be
   * finished now is left for the next time.
   * @param driver only its own; default: of all
   */
  async finish(driver?: string): Promise<void> {
    const existing = this.#options.directory.existing()
    const its = existing.filter((record) => record.driver === (driver ?? record.driver))
    const resizes = its.filter(({ resizing }) => resizing !== null).map(({ id }) => this.#finishResize(id))
    const removals = its.filter((record) => this.#mustGo(record)).map(({ id }) => this.#finishRemoval(id))
    await Promise.allSettled([...resizes, ...removals])
  }

  #finishResize(id: string): Promise<void> {
    const { directory, drivers, serial } = this.#options
    return serial.run(id, async () => {
      const record = directory.peek(id)
      if (record?.state !== 'running' && record?.state !== 'stopped') return
      const driver = drivers.byName(record.driver)
      await finishResize(directory, driver, record, new Progress({ timeoutMs: CLEAN_UP_MS }))
    })
  }

  #finishRemoval(id: string): Promise<void> {
    const { directory, drivers, endings, serial } = this.#options
    return serial.run(id, async () => {
      const record = directory.peek(id)
      if (!record || !this.#mustGo(record)) return
      const end = record.end ?? endRecord('gateway_interrupted', 'The gateway ended while it was being created.')
      await endings.discard(id, drivers.byName(record.driver), end)
    })
  }

  #mustGo({ id, state }: SandboxRecord): boolean {
    return state === 'removing' || (state === 'creating' && this.#interrupted.has(id))
  }
}
