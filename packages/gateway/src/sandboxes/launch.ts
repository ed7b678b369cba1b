import type { Driver, SandboxSpec } from '@coppice/drivers'
import type { ImageConfig, Progress, SupervisorConfig } from '@coppice/protocol'
import type { Images } from '../images/images.ts'
import type { SessionHub } from '../session/hub.ts'
import type { Config } from '../state/config.ts'
import type { Networks } from './networks.ts'
import type { SandboxRecord } from './record.ts'

/** Milliseconds from a started init to a supervisor that has dialled in, before the start counts as failed. */
const FIRST_SESSION_MS = 60_000

/** Bytes of init and supervisor log that an end record of a failed start holds. */
const TAIL_BYTES = 64 * 1024

/** Where images and the runtime bundle come from. */
export interface LaunchSources {
  images: Images
  /** Folder of the runtime bundle. */
  runtime(progress: Progress): Promise<string>
}

/** What a start found out, for the record. */
export type Started = Pick<SandboxRecord, 'transparent'>

/** Puts together what a driver needs for a sandbox, starts it, and waits until its supervisor has dialled in. */
export class Launch {
  readonly #sources: LaunchSources
  readonly #hub: SessionHub
  readonly #config: Config
  readonly #homeHash: string
  readonly #networks: Networks

  constructor(options: {
    sources: LaunchSources
    hub: SessionHub
    config: Config
    homeHash: string
    networks: Networks
  }) {
    this.#sources = options.sources
    this.#hub = options.hub
    this.#config = options.config
    this.#homeHash = options.homeHash
    this.#networks = options.networks
  }

  /** @returns what is known of the record now that it runs */
  async create(driver: Driver, record: SandboxRecord, progress: Progress): Promise<Started> {
    const spec = await this.#spec(driver, record, progress)
    await this.#hub.expect(record.id, record.token)
    await driver.create(spec, progress)
    return this.#ready(driver, record, progress)
  }

  /** Like `create`, with the files that are there. */
  async start(driver: Driver, record: SandboxRecord, progress: Progress): Promise<Started> {
    const spec = await this.#spec(driver, record, progress)
    await this.#hub.expect(record.id, record.token)
    await driver.start(spec, progress)
    return this.#ready(driver, record, progress)
  }

  /** Last words of init and supervisor, as text. Empty when there are none to be had. */
  async tail(driver: Driver, id: string): Promise<string> {
    return driver.logs(id, TAIL_BYTES).then(
      (bytes) => bytes.toString('utf8'),
      () => '',
    )
  }

  /** The supervisor takes longer to dial in than the driver to lead connections to it. */
  async #ready(driver: Driver, record: SandboxRecord, progress: Progress): Promise<Started> {
    const intercepting = this.#networks.intercept(driver, record.id, progress)
    await this.#hub.link(record.id, FIRST_SESSION_MS, progress)
    return { transparent: await intercepting }
  }

  async #spec(driver: Driver, record: SandboxRecord, progress: Progress): Promise<SandboxSpec> {
    const image = await this.#sources.images.resolve(record.imageDigest)
    const packed = driver.wants === 'blobs'
    const [layers, blobs, runtimeDir] = await Promise.all([
      packed ? [] : this.#sources.images.layers(image, driver.uidBase, progress),
      packed ? this.#sources.images.blobs(image) : undefined,
      this.#sources.runtime(progress),
    ])
    return {
      id: record.id,
      hostname: record.name ?? record.id,
      image: { digest: record.imageDigest, layers, config: image.config, ...(blobs && { blobs }) },
      limits: record.limits,
      readOnlyRoot: record.readOnlyRoot,
      runtimeDir,
      runDir: this.#hub.runDir(record.id),
      supervisor: this.#supervisorConfig(record, image.config),
      labels: { ...record.labels, 'coppice.home': this.#homeHash, 'coppice.sandbox': record.id },
    }
  }

  #supervisorConfig(record: SandboxRecord, image: ImageConfig): SupervisorConfig {
    const { session, journal, resultRetentionMs } = this.#config
    return {
      sandboxId: record.id,
      token: record.token,
      leaseMs: session.leaseMs,
      boundMs: session.boundMs,
      defaults: { env: { ...image.env, ...record.env }, cwd: image.cwd || '/', user: image.user },
      journal,
      resultRetentionMs,
      network: this.#networks.supervisorNetwork(record),
      drainMs: 250,
    }
  }
}
