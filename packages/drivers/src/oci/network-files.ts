import { chownSync, lstatSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Writes `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` into a root file system that nothing runs in yet. Ordinary files
 * in the sandbox's own layer, not mounts: programs that replace them (`sed -i`) work. The image is not trusted: a link is
 * replaced, never followed.
 */
export function writeNetworkFiles(root: string, hostname: string, owner: number): void {
  const etc = join(root, 'etc')
  const found = lstatSync(etc, { throwIfNoEntry: false })
  if (found && !found.isDirectory()) return
  if (!found) {
    mkdirSync(etc, { mode: 0o755 })
    chownSync(etc, owner, owner)
  }
  const files = {
    hosts: `127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t${hostname}\n`,
    hostname: `${hostname}\n`,
    'resolv.conf': '# This sandbox has no network but loopback.\n',
  }
  for (const [name, text] of Object.entries(files)) {
    const path = join(etc, name)
    rmSync(path, { recursive: true, force: true })
    writeFileSync(path, text, { flag: 'wx', mode: 0o644 })
    chownSync(path, owner, owner)
  }
}
