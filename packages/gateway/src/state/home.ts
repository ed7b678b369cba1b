import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

/** Every path that a gateway uses, from `COPPICE_HOME` alone. Two homes on one machine never meet. */
export interface Home {
  /** Absolute path of the state folder, mode 0711. */
  dir: string
  /** 8 hex characters that stand for this home in socket paths, cgroup names and labels. */
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
  /** Socket folders, one per sandbox. Short, because a socket's path may have 107 bytes only. */
  run: string
}

/** The folders of a home, made where they are missing. */
export function openHome(dir: string): Home {
  const hash = createHash('sha256').update(dir).digest('hex').slice(0, 8)
  const runBase = process.getuid?.() === 0 ? '/run' : (process.env.XDG_RUNTIME_DIR ?? '/tmp')
  const home: Home = {
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
    run: join(runBase, 'coppice', hash),
  }
  // Root inside a sandbox is nobody outside and still has to walk to its files: these two may be passed through, not listed.
  for (const folder of [dir, home.drivers]) {
    mkdirSync(folder, { recursive: true, mode: 0o711 })
    if ((statSync(folder).mode & 0o001) === 0) chmodSync(folder, 0o711)
  }
  for (const folder of [home.cache, home.logs, home.egress]) mkdirSync(folder, { recursive: true, mode: 0o700 })
  // Sandboxes reach their own folder below it through a bind mount, whatever this mode; other users of the host never do.
  mkdirSync(home.run, { recursive: true, mode: 0o711 })
  return home
}
