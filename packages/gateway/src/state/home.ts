import { chmodSync, mkdirSync, statSync } from 'node:fs'
import { type Home, homeAt } from '@coppice/protocol/home'

export type { Home }

/**
 * The home of a gateway, its folders made where they are missing.
 * @param dir absolute path
 */
export function openHome(dir: string): Home {
  const home = homeAt(dir)
  // Root inside a sandbox is nobody outside and still has to walk to its files: these two may be passed through, not listed.
  for (const folder of [dir, home.drivers]) {
    mkdirSync(folder, { recursive: true, mode: 0o711 })
    if ((statSync(folder).mode & 0o001) === 0) chmodSync(folder, 0o711)
  }
  for (const folder of [home.cache, home.logs, home.egress]) mkdirSync(folder, { recursive: true, mode: 0o700 })
  return home
}

/** The folder of sockets, made by who holds the home: of a gateway that could not start nothing is left outside of it. */
export function openRun(home: Home): void {
  // Sandboxes reach their own folder below it through a bind mount, whatever this mode; other users of the host never do.
  mkdirSync(home.run, { recursive: true, mode: 0o711 })
}
