import { join } from 'node:path'
import { type Driver, OciDriver, ProcessDriver } from '@coppice/drivers'
import type { Config } from '../state/config.ts'
import type { Home } from '../state/home.ts'
import { Drivers } from './drivers.ts'

/**
 * The drivers of this build, in the order in which they are tried when none is named. A new driver is added here and
 * nowhere else in the gateway.
 */
export function makeDrivers(home: Home, config: Config, preferred: string | undefined): Drivers {
  const drivers: Driver[] = [
    new OciDriver({ dir: join(home.drivers, 'oci'), homeHash: home.hash, uidBase: config.uidBase }),
  ]
  if (config.allowProcessDriver)
    drivers.push(new ProcessDriver({ dir: join(home.drivers, 'process'), homeHash: home.hash }))
  return new Drivers(drivers, preferred)
}
