import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Driver } from '../driver.ts'
import { HostDriver } from '../lifecycle/host-driver.ts'
import { ProcessEngine } from './engine.ts'

export interface ProcessDriverOptions {
  /** `COPPICE_HOME`, absolute: sandboxes live in `<home>/drivers/process`. */
  home: string
  /** Milliseconds between two looks at the inits. */
  pollMs?: number
}

/**
 * Sandboxes without walls, for development and tests: init and supervisor run as this user on this host, over its files. Images
 * and limits have no effect, and the capabilities say so.
 */
export function createProcessDriver(options: ProcessDriverOptions): Driver {
  return new HostDriver({
    name: 'process',
    capabilities: {
      isolation: 'none',
      checkpoint: 'none',
      resize: false,
      limits: false,
      readOnlyRoot: false,
      network: 'host',
    },
    uidBase: 0,
    root: join(options.home, 'drivers', 'process'),
    engine: new ProcessEngine(),
    probe: async () => {
      const available = process.platform === 'linux' && existsSync('/proc/self/stat')
      return { available, detail: available ? 'Plain processes, no isolation.' : 'It needs Linux and /proc.' }
    },
    ...(options.pollMs === undefined ? {} : { pollMs: options.pollMs }),
  })
}
