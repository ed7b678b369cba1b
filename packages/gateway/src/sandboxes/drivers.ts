import type { Driver, DriverNotice, DriverProbe, ExitListener } from '@coppice/drivers'
import { CoppiceError, type GatewayStatus, Progress } from '@coppice/protocol'

/** Milliseconds that a driver has to find out whether it works. */
const PROBE_TIMEOUT_MS = 30_000

/** Milliseconds that the engines have to forget images. */
const PRUNE_TIMEOUT_MS = 60_000

/** A driver of this build that could not even be made here, and why. */
export interface MissingDriver {
  name: string
  detail: string
}

/**
 * The drivers of this gateway in the order in which they are chosen when none is named. Each is probed once, by running
 * something, and when it did not work again at the next use.
 */
export class Drivers {
  readonly #drivers: Driver[]
  readonly #missing: MissingDriver[]
  readonly #preferred: string | undefined
  readonly #probes = new Map<string, Promise<DriverProbe>>()
  readonly #stops: (() => void)[] = []

  /** @param preferred name from the configuration or `COPPICE_DRIVER` */
  constructor(drivers: Driver[], missing: MissingDriver[], preferred: string | undefined) {
    this.#drivers = drivers
    this.#missing = missing
    this.#preferred = preferred
  }

  /** Told when what a driver depends on goes away or is back: `gateway status` says so from then on. */
  onNotice(listener: (driver: Driver, notice: DriverNotice) => void): void {
    for (const driver of this.#drivers) {
      const stop = driver.notices?.((notice) => {
        const { available, detail } = notice
        this.#probes.set(driver.name, Promise.resolve({ available, detail }))
        listener(driver, notice)
      })
      if (stop) this.#stops.push(stop)
    }
  }

  /** Every driver that may be used, found to work or not. */
  all(): Driver[] {
    return this.#drivers
  }

  onExit(listener: (driver: Driver, ...args: Parameters<ExitListener>) => void): void {
    for (const driver of this.#drivers) this.#stops.push(driver.watch((sandbox) => listener(driver, sandbox)))
  }

  /** The one named, or the preferred one, or the first that works and isolates. @throws `unavailable`, `unsupported` */
  async choose(name: string | undefined, progress: Progress): Promise<Driver> {
    const wanted = name ?? this.#preferred
    if (wanted !== undefined) {
      const driver = this.byName(wanted)
      await this.#mustWork(driver, progress)
      return driver
    }
    const reasons = Object.fromEntries(this.#missing.map(({ name: missing, detail }) => [missing, detail]))
    for (const driver of this.#drivers) {
      if (driver.capabilities.isolation === 'none') continue
      const probe = await this.#probe(driver, progress)
      if (probe.available) return driver
      reasons[driver.name] = probe.detail
    }
    throw new CoppiceError('unavailable', 'no_driver', 'No driver works on this machine.', {
      facts: { drivers: reasons },
      hint: 'coppice gateway status',
    })
  }

  /** @throws `unsupported/unknown_driver` that names those there are */
  byName(name: string): Driver {
    const driver = this.#drivers.find((candidate) => candidate.name === name)
    if (driver) return driver
    const missing = this.#missing.find((candidate) => candidate.name === name)
    if (missing) throw unavailable(name, missing.detail)
    throw new CoppiceError('unsupported', 'unknown_driver', `There is no driver ${JSON.stringify(name)} here.`, {
      facts: { drivers: this.#drivers.map((candidate) => candidate.name) },
      hint: 'coppice gateway status',
    })
  }

  /** What `gateway status` says about each. */
  async status(): Promise<GatewayStatus['drivers']> {
    const progress = new Progress({ timeoutMs: PROBE_TIMEOUT_MS })
    const probes = await Promise.all(this.#drivers.map((driver) => this.#probe(driver, progress)))
    const first = this.#drivers.findIndex(
      (driver, at) => probes[at]?.available && driver.capabilities.isolation !== 'none',
    )
    const made = this.#drivers.map((driver, at) => ({
      name: driver.name,
      available: probes[at]?.available ?? false,
      default: this.#preferred === undefined ? at === first : driver.name === this.#preferred,
      detail: probes[at]?.detail ?? '',
      capabilities: { ...driver.capabilities },
    }))
    const missing = this.#missing.map(({ name, detail }) => ({
      name,
      available: false,
      default: false,
      detail,
      capabilities: null,
    }))
    return [...made, ...missing]
  }

  /** Has engines forget images that no sandbox uses, but for those of these layers (joined by a space). An engine that is away is passed over. */
  async pruneImages(kept: ReadonlySet<string>): Promise<void> {
    const progress = new Progress({ timeoutMs: PRUNE_TIMEOUT_MS })
    for (const driver of this.#drivers) {
      await driver.pruneImages?.((diffIds) => kept.has(diffIds.join(' ')), progress).catch(() => {})
    }
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop()
    await Promise.all(this.#drivers.map((driver) => driver.close()))
  }

  async #mustWork(driver: Driver, progress: Progress): Promise<void> {
    const probe = await this.#probe(driver, progress)
    if (probe.available) return
    throw unavailable(driver.name, probe.detail)
  }

  #probe(driver: Driver, progress: Progress): Promise<DriverProbe> {
    const known = this.#probes.get(driver.name)
    if (known) return progress.race(known)
    const probe = driver.probe(new Progress({ timeoutMs: PROBE_TIMEOUT_MS })).then(
      (result) => {
        if (!result.available) this.#probes.delete(driver.name)
        return result
      },
      (error: unknown) => {
        this.#probes.delete(driver.name)
        return { available: false, detail: CoppiceError.from(error).message }
      },
    )
    this.#probes.set(driver.name, probe)
    return progress.race(probe)
  }
}

function unavailable(name: string, detail: string): CoppiceError {
  return new CoppiceError('unavailable', 'driver_unavailable', `The driver ${name} does not work here: ${detail}`, {
    facts: { driver: name },
    hint: 'coppice gateway status',
  })
}
