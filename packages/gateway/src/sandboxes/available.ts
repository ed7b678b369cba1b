import { createEngineDriver, createOciDriver, createProcessDriver, type Driver } from '@coppice/drivers'
import { CoppiceError } from '@coppice/protocol'
import type { Config } from '../state/config.ts'
import type { Home } from '../state/home.ts'
import { Drivers, type MissingDriver } from './drivers.ts'

/**
 * The drivers of this build, in the order in which they are tried when none is named. A new driver is added here and
 * nowhere else in the gateway.
 */
export function makeDrivers(home: Home, config: Config, preferred: string | undefined): Drivers {
  const makers: Record<string, () => Driver> = {
    oci: () => createOciDriver({ home: home.dir, uidBase: config.uidBase }),
    docker: () => createEngineDriver({ home: home.dir, engine: 'docker' }),
    podman: () => createEngineDriver({ home: home.dir, engine: 'podman' }),
  }
  if (config.allowProcessDriver) makers.process = () => createProcessDriver({ home: home.dir })

  const drivers: Driver[] = []
  const missing: MissingDriver[] = []
  for (const [name, make] of Object.entries(makers)) {
    try {
      drivers.push(make())
    } catch (error) {
      missing.push({ name, detail: CoppiceError.from(error).message })
    }
  }
  return new Drivers(drivers, missing, preferred)
}
