import { chownSync, lstatSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { RESOLVER_ADDRESS } from '@coppice/protocol/wire'

/** What stood in `/etc/resolv.conf` of sandboxes before they had a resolver. */
const FORMER_RESOLVER_FILE = '# This sandbox has no network but loopback.\n'

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
    'resolv.conf': resolverFile(hostname),
  }
  for (const [name, text] of Object.entries(files)) replace(join(etc, name), text, owner)
}

/**
 * Gives a sandbox that was made before sandboxes had a resolver its address. What somebody else has written stays. Nothing runs
 * in the root file system yet; what ran in it is not trusted.
 */
export function renewResolverFile(root: string, hostname: string, owner: number): void {
  const etc = join(root, 'etc')
  const path = join(etc, 'resolv.conf')
  const isFolder = lstatSync(etc, { throwIfNoEntry: false })?.isDirectory()
  const found = isFolder ? lstatSync(path, { throwIfNoEntry: false }) : undefined
  if (!found?.isFile() || found.size !== FORMER_RESOLVER_FILE.length) return
  if (readFileSync(path, 'latin1') === FORMER_RESOLVER_FILE) replace(path, resolverFile(hostname), owner)
}

/**
 * While a gateway is started again, names are answered late: glibc waits 20 s with these options (2 × 10), musl 10 s (it takes
 * `timeout` as the whole). Only options that Go's resolver knows too: an unknown one makes it load the C library's. Without a
 * `search`, glibc would try what stands behind the first dot of the host name.
 */
function resolverFile(hostname: string): string {
  const lines = [
    "# Names are answered through the session, by the gateway's policy. The address is inside this sandbox.",
    `nameserver ${RESOLVER_ADDRESS}`,
    ...(hostname.includes('.') ? ['search .'] : []),
    'options timeout:10 attempts:2',
  ]
  return `${lines.join('\n')}\n`
}

function replace(path: string, text: string, owner: number): void {
  rmSync(path, { recursive: true, force: true })
  writeFileSync(path, text, { flag: 'wx', mode: 0o644 })
  chownSync(path, owner, owner)
}
