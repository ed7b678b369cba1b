import { createHash } from 'node:crypto'
import type { Driver } from '@coppice/drivers'
import {
  CoppiceError,
  type EndRecord,
  Progress,
  type ResizeSandbox,
  type ResolvedCreateSandbox,
  type ResourceUse,
  type SandboxInfo,
  SandboxInfoSchema,
  type SandboxInspection,
} from '@coppice/protocol'
import type { Origins } from '../checkpoints/origins.ts'
import type { RelayTarget } from '../relay/relay.ts'
import type { SessionHub } from '../session/hub.ts'
import type { Config } from '../state/config.ts'
import type { Directory } from './directory.ts'
import type { Drivers } from './drivers.ts'
import { endedError, endRecord } from './ends.ts'
import { inspectSandbox } from './inspection.ts'
import { LastOutput } from './last-output.ts'
import type { Launch, Started } from './launch.ts'
import { newRecord } from './new-record.ts'
import type { SandboxRecord } from './record.ts'
import { notRunning, requireCapabilities, wrongState } from './refusals.ts'
import { finishResize, resize, withLimits } from './resize.ts'
import { requireRoom } from './room.ts'
import { Serial } from './serial.ts'

/** Default milliseconds between SIGTERM and SIGKILL for a sandbox that is removed. */
const REMOVE_GRACE_MS = 0

/** Milliseconds for taking away what a failed call has begun. */
const CLEAN_UP_MS = 60_000

/** Milliseconds between two tries to write an end down. */
const END_RETRY_MS = 5_000

export interface SandboxesOptions {
  config: Config
  directory: Directory
  drivers: Drivers
  hub: SessionHub
  origins: Origins
  launch: Launch
  /** Folder of the sandboxes' files. */
  filesDir: string
}

/** The life of every sandbox: create, start, stop, remove, and what happens when one ends by itself. */
export class Sandboxes {
  readonly #options: SandboxesOptions
  readonly #serial = new Serial()
  readonly #outputs = new Map<string, LastOutput>()
  /** Being created when this began: by a gateway that is gone. */
  readonly #interrupted: ReadonlySet<string>

  constructor(options: SandboxesOptions) {
    this.#options = options
    const existing = options.directory.existing()
    this.#interrupted = new Set(existing.filter(({ state }) => state === 'creating').map(({ id }) => id))
    options.drivers.onExit((driver, sandbox) => {
      this.#endedForSure(driver.name, sandbox.id, sandbox.end ?? undefined, sandbox.use)
    })
  }

  /**
   * Creates and starts a sandbox. The intent is in the registry before any resource exists; a failure leaves an end record
   * and nothing else.
   */
  async create(request: ResolvedCreateSandbox, progress: Progress): Promise<SandboxInfo> {
    const requestHash = createHash('sha256').update(JSON.stringify(request)).digest('hex')
    if (request.key !== undefined) {
      return this.#serial.run(`key:${request.key}`, () => this.#createOnce(request, requestHash, progress))
    }
    return this.#createOnce(request, requestHash, progress)
  }

  async #createOnce(request: ResolvedCreateSandbox, requestHash: string, progress: Progress): Promise<SandboxInfo> {
    const { directory, drivers, origins, launch } = this.#options
    const same = request.key === undefined ? undefined : await directory.byKey(request.key)
    if (same) {
      if (same.requestHash === requestHash) return this.info(same)
      throw new CoppiceError('conflict', 'key_reused', 'This key has created another sandbox with other settings.', {
        facts: { key: request.key, sandboxId: same.id },
        hint: `coppice inspect ${same.id}`,
      })
    }
    const driver = await drivers.choose(request.driver, progress)
    requireCapabilities(driver, request)
    requireRoom(this.#options.filesDir)
    const { image, from, release: releaseImage } = await origins.acquire(request.from)
    let record: SandboxRecord
    // Until the record is there, nothing but the hold says that the image is used.
    try {
      record = newRecord({ ...request, from }, { requestHash, imageDigest: image.digest, driver: driver.name })
      const releasePlace = directory.reserve(record, this.#options.config.maxSandboxes)
      await directory.put(record).finally(releasePlace)
    } finally {
      releaseImage()
    }
    return this.#serial.run(record.id, async () => {
      try {
        return this.info(await this.#running(record.id, await launch.create(driver, record, progress)))
      } catch (error) {
        const failure = CoppiceError.from(error)
        const end = endRecord('start_failed', failure.message, { lastOutput: await launch.tail(driver, record.id) })
        await this.#takeBack(record.id, 'creating', async () => {
          await directory.settle(record.id, (current) => ({ ...current, state: 'removing', end }))
          await this.#discard(record.id, driver, end)
        })
        throw failure
      }
    })
  }

  /** Starts a stopped sandbox again, with the files it had. A success when it runs already. */
  async start(idOrName: string, progress: Progress): Promise<SandboxInfo> {
    const { directory, drivers, launch } = this.#options
    const { id } = directory.find(idOrName)
    return this.#serial.run(id, async () => {
      const found = directory.find(id)
      if (found.state === 'running') return this.info(found)
      if (found.state !== 'stopped') throw wrongState(found, 'started')
      const driver = drivers.byName(found.driver)
      requireRoom(this.#options.filesDir)
      const record = await directory.update(id, (current) => ({
        ...(current.resizing ? withLimits(current, current.resizing) : current),
        state: 'starting',
      }))
      try {
        return this.info(await this.#running(id, await launch.start(driver, record, progress)))
      } catch (error) {
        const failure = CoppiceError.from(error)
        const lastOutput = await launch.tail(driver, id)
        // Not the caller's progress: it may be what has ended.
        await driver.stop(id, 0, new Progress({ timeoutMs: CLEAN_UP_MS })).catch(() => {})
        this.#options.hub.release(id, failure)
        const end = endRecord('start_failed', failure.message, { lastOutput })
        await this.#takeBack(id, 'starting', async () => {
          await directory.settle(id, (current) => ({ ...current, state: 'stopped', end }))
        })
        throw failure
      }
    })
  }

  /** Ends all processes, keeps the files. A success when it is stopped already. */
  async stop(idOrName: string, graceMs: number, progress: Progress): Promise<SandboxInfo> {
    const { directory, drivers } = this.#options
    const { id } = directory.find(idOrName)
    return this.#serial.run(id, async () => {
      const record = directory.find(id)
      if (record.state === 'stopped') return this.info(record)
      // `stopping`: an earlier stop failed half-way. Stopping twice is stopping once.
      if (record.state !== 'running' && record.state !== 'stopping') throw wrongState(record, 'stopped')
      const driver = drivers.byName(record.driver)
      await directory.settle(id, (current) => ({ ...current, state: 'stopping' }))
      const use = await driver.stats(id).catch(() => null)
      await driver.stop(id, graceMs, progress)
      return this.info(await this.#stopped(id, endRecord('stopped', 'It was stopped on request.', { use })))
    })
  }

  /** Gives it other limits: at once where it runs, else at its next start. @throws see `resize` */
  resize(idOrName: string, change: ResizeSandbox, progress: Progress): Promise<SandboxInfo> {
    return this.between(idOrName, 'resized', async (record) =>
      this.info(await resize(this.#options, record, change, progress)),
    )
  }

  /**
   * Carries to their end the changes of limits that could not be finished or taken back: their engine did not answer, or the disk
   * was full. Those that cannot be now are left for the next time.
   * @param driver only its own; default: of all
   */
  async finishResizes(driver?: string): Promise<void> {
    const { directory } = this.#options
    const pending = directory
      .existing()
      .filter((record) => record.resizing !== null && record.driver === (driver ?? record.driver))
    const finish = ({ id }: SandboxRecord) =>
      this.between(id, 'resized', (record, its) =>
        finishResize(directory, its, record, new Progress({ timeoutMs: CLEAN_UP_MS })),
      )
    await Promise.allSettled(pending.map(finish))
  }

  /**
   * Carries removals to their end that could not be finished because their engine did not answer, and takes back creations in the
   * middle of which a gateway before this one ended. Those that cannot be now are left for the next time.
   * @param driver only its own; default: of all
   */
  async finishRemovals(driver?: string): Promise<void> {
    const { directory, drivers } = this.#options
    const pending = ({ id, state }: SandboxRecord) =>
      state === 'removing' || (state === 'creating' && this.#interrupted.has(id))
    const finish = ({ id }: SandboxRecord) =>
      this.#serial.run(id, async () => {
        const record = await directory.findWhole(id)
        if (!pending(record)) return
        const end = record.end ?? endRecord('gateway_interrupted', 'The gateway ended while it was being created.')
        await this.#discard(id, drivers.byName(record.driver), end)
      })
    const found = directory
      .existing()
      .filter((record) => record.driver === (driver ?? record.driver) && pending(record))
    await Promise.allSettled(found.map(finish))
  }

  /** Does something with a sandbox that runs or is stopped, between other calls that change its state. */
  async between<T>(
    idOrName: string,
    verb: string,
    work: (record: SandboxRecord, driver: Driver) => Promise<T>,
  ): Promise<T> {
    const { directory, drivers } = this.#options
    const { id } = directory.find(idOrName)
    return this.#serial.run(id, async () => {
      const record = directory.find(id)
      if (record.state !== 'running' && record.state !== 'stopped') throw wrongState(record, verb)
      return work(record, drivers.byName(record.driver))
    })
  }

  /** Ends a sandbox and deletes its files. Its end record is kept. A success when it was removed before. */
  async remove(idOrName: string, progress: Progress): Promise<SandboxInfo> {
    const { directory, drivers } = this.#options
    const id = directory.idOf(idOrName)
    return this.#serial.run(id, async () => {
      const record = await directory.findWhole(id)
      if (record.state === 'removed') return this.info(record)
      const driver = drivers.byName(record.driver)
      // `stopping`: an earlier stop failed half-way. What is recorded as its end is that of the run before.
      const runs = record.state === 'running' || record.state === 'stopping'
      let end = record.end ?? endRecord('removed', 'It was removed on request.')
      if (runs) {
        const use = await driver.stats(id).catch(() => null)
        end = endRecord('removed', 'It was removed on request while it ran.', { use, lastOutput: this.#lastOutput(id) })
      }
      // Whoever has to finish it, a later call or gateway, knows no more of its end than this.
      await directory.settle(id, (current) => ({ ...current, state: 'removing', end }))
      if (runs) {
        await driver.stop(id, REMOVE_GRACE_MS, progress)
        end = { ...end, lastOutput: this.#lastOutput(id) }
      }
      return this.info(await this.#discard(id, driver, end))
    })
  }

  /** Called when a sandbox was seen to have ended; does nothing when that is known or in somebody's hands. */
  async ended(driver: string, id: string, end: Partial<EndRecord> | undefined, use: ResourceUse | null): Promise<void> {
    const { directory, drivers } = this.#options
    await this.#serial.run(id, async () => {
      const record = directory.peek(id)
      if ((record?.state !== 'running' && record?.state !== 'stopping') || record.driver !== driver) return
      // The news may be older than a start that was waiting here before it.
      if ((await drivers.byName(driver).inspect(id))?.state === 'running') return
      const reason = end?.reason ?? 'killed'
      await this.#stopped(
        id,
        endRecord(reason, end?.message ?? 'It ended by itself.', { use, exitCode: end?.exitCode ?? null }),
      )
    })
  }

  /** A driver tells an end once. When it cannot be written down (a full disk), it is tried again until it can. */
  #endedForSure(...news: Parameters<Sandboxes['ended']>): void {
    this.ended(...news).catch(() => setTimeout(() => this.#endedForSure(...news), END_RETRY_MS).unref())
  }

  /**
   * Takes back what has failed. What fails in it is not what the caller has to know: it is tried again until the sandbox has left the
   * state in which it failed (a full disk may keep that from being written down), and a removal that is recorded is finished later.
   */
  async #takeBack(id: string, state: SandboxRecord['state'], work: () => Promise<void>): Promise<void> {
    const again = () =>
      this.#serial.run(id, async () => {
        if (this.#options.directory.peek(id)?.state === state) await this.#takeBack(id, state, work)
      })
    await work().catch(() => {
      if (this.#options.directory.peek(id)?.state === state) setTimeout(() => void again(), END_RETRY_MS).unref()
    })
  }

  /** Asks the driver about a sandbox whose session broke: a sandbox that is gone must not keep its callers waiting. */
  async sessionLost(id: string): Promise<void> {
    const record = this.#options.directory.peek(id)
    if (record?.state !== 'running') return
    const driver = this.#options.drivers.byName(record.driver)
    const found = await driver.inspect(id)
    if (found?.state === 'running') return
    const use = await driver.stats(id).catch(() => null)
    await this.ended(
      driver.name,
      id,
      found?.end ?? { reason: 'vanished', message: 'Its driver does not know it any more.' },
      use,
    )
  }

  /** Where calls for a sandbox go. @throws `failed_precondition/not_running` with how it ended. */
  target(idOrName: string): RelayTarget {
    const record = this.#options.directory.find(idOrName)
    if (record.state !== 'running') throw notRunning(record)
    return { sandboxId: record.id, hub: this.#options.hub, boundMs: this.#options.config.session.boundMs }
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

  /** A record as clients see it: the fields of the schema and no others, so without the token. */
  info(record: SandboxRecord): SandboxInfo {
    return SandboxInfoSchema.parse({ ...record, connected: this.#options.hub.connected(record.id) })
  }

  /** A record with what its driver has beside what was asked. */
  inspect(record: SandboxRecord): Promise<SandboxInspection> {
    const driver = this.#options.drivers.all().find(({ name }) => name === record.driver)
    return inspectSandbox(record, this.info(record), driver)
  }

  #lastOutput(id: string): string {
    return this.#outputs.get(id)?.text() ?? ''
  }

  #running(id: string, started: Started): Promise<SandboxRecord> {
    return this.#options.directory.update(id, (current) => ({
      ...current,
      ...started,
      state: 'running',
      startedAt: Date.now(),
    }))
  }

  /** The record says how it ended before anybody who waits is told. */
  async #stopped(id: string, end: EndRecord): Promise<SandboxRecord> {
    const lastOutput = end.lastOutput || this.#lastOutput(id)
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
  async #discard(id: string, driver: Driver, end: EndRecord): Promise<SandboxRecord> {
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
}
