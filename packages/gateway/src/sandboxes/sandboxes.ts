import { createHash } from 'node:crypto'
import type { Driver } from '@coppice/drivers'
import {
  CoppiceError,
  type Progress,
  type ResizeSandbox,
  type ResolvedCreateSandbox,
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
import { Endings } from './endings.ts'
import { endRecord } from './ends.ts'
import { FailedStarts } from './failed-starts.ts'
import { inspectSandbox } from './inspection.ts'
import type { Launch, Started } from './launch.ts'
import { Leftovers } from './leftovers.ts'
import { newRecord } from './new-record.ts'
import type { SandboxRecord } from './record.ts'
import { notRunning, requireCapabilities, wrongState } from './refusals.ts'
import { resize, withLimits } from './resize.ts'
import { requireRoom } from './room.ts'
import { Serial } from './serial.ts'

/** Default milliseconds between SIGTERM and SIGKILL for a sandbox that is removed. */
const REMOVE_GRACE_MS = 0

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

/** The life of every sandbox, as it is asked for: create, start, stop, resize, remove; those of one sandbox one after the other. */
export class Sandboxes {
  readonly #options: SandboxesOptions
  readonly #serial = new Serial()
  readonly #endings: Endings
  readonly #failedStarts: FailedStarts
  readonly #leftovers: Leftovers

  constructor(options: SandboxesOptions) {
    this.#options = options
    const serial = this.#serial
    this.#endings = new Endings({ ...options, serial })
    this.#failedStarts = new FailedStarts({ ...options, endings: this.#endings, serial })
    this.#leftovers = new Leftovers({ ...options, endings: this.#endings, serial })
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
        throw await this.#failedStarts.ofCreate(driver, record.id, error)
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
        throw await this.#failedStarts.ofStart(driver, id, error)
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
      return this.info(await this.#endings.stopped(id, endRecord('stopped', 'It was stopped on request.', { use })))
    })
  }

  /** Gives it other limits: at once where it runs, else at its next start. @throws see `resize` */
  resize(idOrName: string, change: ResizeSandbox, progress: Progress): Promise<SandboxInfo> {
    return this.between(idOrName, 'resized', async (record) =>
      this.info(await resize(this.#options, record, change, progress)),
    )
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
        end = endRecord('removed', 'It was removed on request while it ran.', {
          use,
          lastOutput: this.#endings.lastOutput(id),
        })
      }
      // Whoever has to finish it, a later call or gateway, knows no more of its end than this.
      await directory.settle(id, (current) => ({ ...current, state: 'removing', end }))
      if (runs) {
        await driver.stop(id, REMOVE_GRACE_MS, progress)
        end = { ...end, lastOutput: this.#endings.lastOutput(id) }
      }
      return this.info(await this.#endings.discard(id, driver, end))
    })
  }

  /** Finishes what calls that were cut off have left to do. @param driver only its own; default: of all */
  finishLeftovers(driver?: string): Promise<void> {
    return this.#leftovers.finish(driver)
  }

  /** To be called when the session of a sandbox broke. @throws what its driver throws */
  sessionLost(id: string): Promise<void> {
    return this.#endings.sessionLost(id)
  }

  /** Where calls for a sandbox go. @throws `failed_precondition/not_running` with how it ended. */
  target(idOrName: string): RelayTarget {
    const record = this.#options.directory.find(idOrName)
    if (record.state !== 'running') throw notRunning(record)
    return { sandboxId: record.id, hub: this.#options.hub, boundMs: this.#options.config.session.boundMs }
  }

  /** Keeps output that passed, for the end record. */
  recordOutput(id: string, bytes: Buffer): void {
    this.#endings.recordOutput(id, bytes)
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

  #running(id: string, started: Started): Promise<SandboxRecord> {
    return this.#options.directory.update(id, (current) => ({
      ...current,
      ...started,
      state: 'running',
      startedAt: Date.now(),
    }))
  }
}
