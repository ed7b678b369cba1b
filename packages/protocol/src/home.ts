import { createHash } from 'node:crypto'
import { join } from 'node:path'

/**
 * Every path of one `COPPICE_HOME`: of the gateway that owns it, and of what looks for that gateway or mends what it has left.
 * Two homes on one machine never meet.
 */
export interface Home {
  /** Absolute path of the state folder, mode 0711. */
  dir: string
  /** 8 hex digits that stand for this home in socket paths, cgroup names and labels. */
  hash: string
  config: string
  token: string
  /** `{pid, url, version, home, startedAt}` of the running gateway. */
  gatewayFile: string
  lock: string
  registry: string
  store: string
  runtime: string
  drivers: string
  /** Downloads that may be made again: debootstrap's packages. */
  cache: string
  logs: string
  /** Bytes that wait, unless `COPPICE_SCRATCH_DIR` names another folder. */
  scratch: string
  /** What sandboxes reached, or tried to: one folder each. */
  egress: string
  /** What the doctor could not use is kept here, byte for byte. */
  quarantine: string
  /** Socket folders, one per sandbox. Short, because a socket's path may have 107 bytes only. */
  run: string
}

/**
 * The layout of a home. Nothing is made and nothing is looked at.
 * @param dir absolute path
 */
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
    cache: join(dir, 'cache'),
    logs: join(dir, 'logs'),
    scratch: join(dir, 'scratch'),
    egress: join(dir, 'egress'),
    quarantine: join(dir, 'quarantine'),
    run: join(runBase, 'coppice', hash),
  }
}
