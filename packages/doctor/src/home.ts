import { createHash } from 'node:crypto'
import { join } from 'node:path'

/** Where things are in one `COPPICE_HOME`. Nothing is made and nothing is looked at. */
export interface Home {
  /** Absolute. */
  dir: string
  /** 8 hex digits that stand for it in cgroup names and socket paths, as the gateway makes them. */
  hash: string
  config: string
  token: string
  gatewayFile: string
  lock: string
  registry: string
  store: string
  runtime: string
  drivers: string
  logs: string
  /** What could not be used is kept here, byte for byte. */
  quarantine: string
  /** Socket folders, one per sandbox. */
  run: string
}

/** @param dir absolute path */
export function homeAt(dir: string): Home {
  const hash = createHash('sha256').update(dir).digest('hex').slice(0, 8)
  const runBase = process.getuid?.() === 0 ? '/run' : (process.env.XDG_RUNTIME_DIR ?? '/tmp')
  return {
    dir,
    hash,
    config: join(dir, 'config.json'),
    token: join(dir, 'token'),
    gatewayFile: join(dir, 'gateway.json'),
    lock: join(dir, 'gateway.lock'),
    registry: join(dir, 'registry'),
    store: join(dir, 'store'),
    runtime: join(dir, 'runtime'),
    drivers: join(dir, 'drivers'),
    logs: join(dir, 'logs'),
    quarantine: join(dir, 'quarantine'),
    run: join(runBase, 'coppice', hash),
  }
}
