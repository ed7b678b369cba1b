import type { Driver } from '@coppice/drivers'
import { CoppiceError, Progress } from '@coppice/protocol'
import type { SessionHub } from '../session/hub.ts'
import type { Directory } from './directory.ts'
import { CLEAN_UP_MS, END_RETRY_MS, type Endings } from './endings.ts'
import { endRecord } from './ends.ts'
import type { Launch } from './launch.ts'
import type { SandboxRecord } from './record.ts'
import type { Serial } from './serial.ts'

export interface FailedStartsOptions {
  directory: Directory
  hub: SessionHub
  launch: Launch
  endings: Endings
  /** By the sandbox's id: what is tried again waits for calls that are under way. */
  serial: Serial
}

/** Takes back what a create or a start has begun that failed. Called by whoever holds the sandbox. */
export class FailedStarts {
  readonly #options: FailedStartsOptions

  constructor(options: FailedStartsOptions) {
    this.#options = options
  }

  /** Leaves an end record and nothing else. @returns the failure, for the caller */
  async ofCreate(driver: Driver, id: string, error: unknown): Promise<CoppiceError> {
    const { directory, launch, endings } = this.#options
    const failure = CoppiceError.from(error)
    const end = endRecord('start_failed', failure.message, { lastOutput: await launch.tail(driver, id) })
    await this.#takeBack(id, 'creating', async () => {
      await directory.settle(id, (current) => ({ ...current, state: 'removing', end }))
      await endings.discard(id, driver, end)
    })
    return failure
  }

  /** Leaves a stopped sandbox with its files. @returns the failure, for the caller */
  async ofStart(driver: Driver, id: string, error: unknown): Promise<CoppiceError> {
    const { directory, hub, launch } = this.#options
    const failure = CoppiceError.from(error)
    const lastOutput = await launch.tail(driver, id)
    // Not the caller's progress: it may be what has ended.
    await driver.stop(id, 0, new Progress({ timeoutMs: CLEAN_UP_MS })).catch(() => {})
    hub.release(id, failure)
    const end = endRecord('start_failed', failure.message, { lastOutput })
    await this.#takeBack(id, 'starting', async () => {
      await directory.settle(id, (current) => ({ ...current, state: 'stopped', end }))
    })
    return failure
  }

  /**
   * What fails in it is not what the caller has to know: it is tried again until the sandbox has left the state in which it failed
   * (a full disk may keep that from being written down), and a removal that is recorded is finished later.
   */
  async #takeBack(id: string, state: SandboxRecord['state'], work: () => Promise<void>): Promise<void> {
    const { directory, serial } = this.#options
    const again = () =>
      serial.run(id, async () => {
        if (directory.peek(id)?.state === state) await this.#takeBack(id, state, work)
      })
    await work().catch(() => {
      if (directory.peek(id)?.state === state) setTimeout(() => void again(), END_RETRY_MS).unref()
    })
  }
}
