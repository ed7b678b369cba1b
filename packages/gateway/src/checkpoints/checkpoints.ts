import { setTimeout as sleep } from 'node:timers/promises'
import type { Driver, SavedFiles } from '@coppice/drivers'
import { type CheckpointInfo, CoppiceError, type CreateCheckpointRequest, Progress } from '@coppice/protocol'
import type { Images } from '../images/images.ts'
import type { Drivers } from '../sandboxes/drivers.ts'
import type { Sandboxes } from '../sandboxes/sandboxes.ts'
import { Serial } from '../sandboxes/serial.ts'
import type { CheckpointDirectory } from './directory.ts'
import { type CheckpointRecord, checkpointInfo, newCheckpointRecord } from './record.ts'

/** Milliseconds that the end of a gateway waits for checkpoints that are being taken back. */
const CLOSE_MS = 10_000

export interface CheckpointsOptions {
  directory: CheckpointDirectory
  sandboxes: Pick<Sandboxes, 'between'>
  drivers: Drivers
  images: Images
  /** Told what was found and done, one sentence each. */
  log: (message: string, facts: Record<string, unknown>) => void
}

/** Saved sandboxes. Each holds an image of the store, without a name, that is the sandbox's own image and what differs from it. */
export class Checkpoints {
  readonly #options: CheckpointsOptions
  readonly #closing = new AbortController()
  readonly #serial = new Serial()
  readonly #underWay = new Set<Promise<unknown>>()

  constructor(options: CheckpointsOptions) {
    this.#options = options
  }

  /**
   * Saves the files of a sandbox that runs or is stopped. The intent is in the registry before anything is saved; a failure leaves
   * nothing. Other calls for the sandbox wait only while it is held still. A call with the key of an earlier one waits until that has
   * ended, has its checkpoint where there is one, and else makes it.
   *
   * @throws `unsupported/checkpoint` that names drivers which can, `already_exists/name_taken`, `failed_precondition/wrong_state`,
   * `conflict/key_reused`, and what the driver and the store throw
   */
  async create(idOrName: string, request: CreateCheckpointRequest, progress: Progress): Promise<CheckpointInfo> {
    const wanted = new Progress({ signal: AbortSignal.any([progress.signal, this.#closing.signal]) })
    const { key } = request
    const make = () => this.#create(idOrName, request, wanted)
    const making =
      key === undefined ? make() : this.#serial.run(key, () => this.#made(idOrName, request, key) ?? make())
    this.#underWay.add(making)
    return making.finally(() => this.#underWay.delete(making))
  }

  /** Whole ones, oldest first. */
  list(): CheckpointInfo[] {
    return this.#options.directory.ready().map(checkpointInfo)
  }

  /** By id or name. @throws `not_found/checkpoint_not_found` */
  get(idOrName: string): CheckpointInfo {
    return checkpointInfo(this.#options.directory.find(idOrName))
  }

  /** Removes it. Its image goes with it, unless a sandbox was made from it: then with the last of those. */
  async remove(idOrName: string): Promise<CheckpointInfo> {
    const record = this.#options.directory.find(idOrName)
    await this.#options.directory.remove(record.id)
    await this.#collect()
    return checkpointInfo(record)
  }

  /** Takes back what is being made: its sandboxes go on, although this process ends. */
  async close(): Promise<void> {
    this.#closing.abort()
    await Promise.race([Promise.allSettled(this.#underWay), sleep(CLOSE_MS, undefined, { ref: false })])
  }

  /**
   * Takes back what a gateway was making when it ended. Drivers take back by themselves what they had saved. Call it before
   * anybody is answered.
   */
  async reconcile(): Promise<void> {
    const { directory, log } = this.#options
    const halfMade = directory.creating()
    if (halfMade.length === 0) return
    for (const { id, sandboxId } of halfMade) {
      try {
        await directory.forget(id)
        log('a checkpoint that was being made was taken back', { checkpointId: id, sandboxId })
      } catch (error) {
        // A full disk, mostly. It is no reason not to start.
        log('a checkpoint that was being made is taken back at the next start', {
          checkpointId: id,
          error: String(error),
        })
      }
    }
    await this.#collect()
  }

  /** What a call with this key has made. @throws `conflict/key_reused` when it was asked for something else */
  #made(idOrName: string, { name }: CreateCheckpointRequest, key: string): Promise<CheckpointInfo> | undefined {
    const made = this.#options.directory.byKey(key)
    if (!made) return undefined
    // The sandbox may be gone by now, and its name another's.
    const same = [made.sandboxId, made.sandboxName].includes(idOrName) && made.name === (name ?? null)
    if (same) return Promise.resolve(checkpointInfo(made))
    throw new CoppiceError('conflict', 'key_reused', 'This key has made another checkpoint.', {
      facts: { key, checkpointId: made.id },
      hint: `coppice inspect ${made.id}`,
    })
  }

  async #create(idOrName: string, request: CreateCheckpointRequest, progress: Progress): Promise<CheckpointInfo> {
    const { directory, sandboxes, images } = this.#options
    const begun = await sandboxes.between(idOrName, 'saved', async (sandbox, driver) => {
      const saveFiles = this.#requireSaving(driver)
      progress.throwIfEnded()
      const record = newCheckpointRecord(sandbox, request)
      await directory.put(record)
      return this.#orForget(record, async () => {
        const base = await images.acquire(sandbox.imageDigest)
        const saved = await saveFiles(sandbox.id, progress).catch((error: unknown) => {
          base.release()
          throw error
        })
        return { record, base, saved }
      })
    })
    return this.#orForget(begun.record, () => this.#keep(begun.record, begun.base, begun.saved, progress))
  }

  async #keep(
    { id, sandboxId }: CheckpointRecord,
    base: Awaited<ReturnType<Images['acquire']>>,
    saved: SavedFiles,
    progress: Progress,
  ): Promise<CheckpointInfo> {
    const { directory, images } = this.#options
    try {
      const { image, layer, release } = await images.derive(base.image, saved, `checkpoint of ${sandboxId}`, progress)
      // Until the record says so, nothing but the hold says that the image is needed.
      try {
        const change = { state: 'ready', imageDigest: image.digest, sizeBytes: layer.size } as const
        return checkpointInfo(await directory.update(id, (current) => ({ ...current, ...change })))
      } finally {
        release()
      }
    } finally {
      base.release()
      await saved.dispose()
    }
  }

  async #orForget<T>(record: CheckpointRecord, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      // What fails here is not what the caller has to know: the next gateway finds the intent.
      await this.#options.directory.forget(record.id).catch(() => {})
      await this.#collect()
      throw error
    }
  }

  /** Never throws: what was not removed now goes with the next removal or prune. */
  async #collect(): Promise<void> {
    const { images, log } = this.#options
    await images.collect().catch((error: unknown) => log('images were not removed', { error: String(error) }))
  }

  #requireSaving(driver: Driver): NonNullable<Driver['saveFiles']> {
    const save = driver.saveFiles
    if (save) return (id, progress) => save.call(driver, id, progress)
    const able = this.#options.drivers
      .all()
      .filter(({ saveFiles }) => saveFiles !== undefined)
      .map(({ name }) => name)
    throw new CoppiceError(
      'unsupported',
      'checkpoint',
      `The driver ${driver.name} cannot save the files of a sandbox${able.length > 0 ? `; ${able.join(' and ')} can` : ''}.`,
      { facts: { driver: driver.name, drivers: able }, hint: `coppice create --driver ${able[0] ?? 'docker'}` },
    )
  }
}
