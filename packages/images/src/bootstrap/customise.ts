import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ImageConfig, Progress } from '@coppice/protocol/wire'
import { runChecked } from '../host/run.ts'
import { contained } from './debootstrap.ts'
import type { Suite } from './host-suite.ts'

/** How programs run in the image. */
export const BASE_CONFIG: ImageConfig = {
  env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8' },
  cwd: '/home/user',
  user: 'user',
  entrypoint: [],
  cmd: ['/bin/bash'],
  labels: {},
}

/** Emptied: what was only needed for installing, what is the host's own, and what would differ from one time to the next. */
const EMPTIED = [
  ...['usr/share/man', 'usr/share/info', 'usr/share/locale', 'var/cache/apt', 'var/cache/debconf', 'var/lib/apt/lists'],
  ...['var/log', 'var/cache/ldconfig', 'tmp', 'run', 'var/tmp'],
]
const REMOVED = ['etc/machine-id', 'var/lib/dbus/machine-id', 'etc/.pwd.lock', 'debootstrap']

/** Without these, `sudo apt-get` would not find the way out that the supervisor offers every program. */
const KEPT_BY_SUDO = [
  ...['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'].flatMap((name) => [name, name.toUpperCase()]),
  'NODE_USE_ENV_PROXY',
]

/** Turns a fresh Debian into the image `base`: user `user` (1000) who may do everything by sudo, apt that works, no leftovers. */
export async function customise(root: string, suite: Suite, progress: Progress): Promise<void> {
  const user = ['useradd', '--create-home', '--uid', '1000', '--user-group', '--shell', '/bin/bash', 'user']
  await runChecked(contained(['chroot', root, ...user]), {}, progress)
  await put(root, 'etc/sudoers.d/user', 'user ALL=(ALL:ALL) NOPASSWD: ALL\n', 0o440)
  await put(root, 'etc/sudoers.d/proxy', `Defaults env_keep += "${KEPT_BY_SUDO.join(' ')}"\n`, 0o440)
  // apt drops to the user _apt, for which files of a sandbox's user are often not readable.
  await put(root, 'etc/apt/apt.conf.d/90coppice', 'APT::Sandbox::User "root";\nAcquire::Languages "none";\n', 0o644)
  await put(root, 'etc/apt/sources.list', sources(suite), 0o644)
  await put(root, 'etc/hostname', 'sandbox\n', 0o644)
  await put(root, 'etc/hosts', '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n', 0o644)
  await put(root, 'etc/resolv.conf', '', 0o644)
  for (const folder of EMPTIED) await empty(join(root, folder))
  for (const name of REMOVED) await rm(join(root, name), { recursive: true, force: true })
  await put(root, 'etc/machine-id', '', 0o444)
}

function sources(suite: Suite): string {
  const components = suite.components.join(' ')
  const lines = [`deb ${suite.mirror} ${suite.name} ${components}`]
  const isUbuntu = suite.components.includes('universe')
  if (isUbuntu) {
    lines.push(
      `deb ${suite.mirror} ${suite.name}-updates ${components}`,
      `deb ${suite.mirror} ${suite.name}-security ${components}`,
    )
  } else if (suite.name !== 'sid' && suite.name !== 'unstable') {
    lines.push(`deb ${suite.mirror} ${suite.name}-updates ${components}`)
    lines.push(`deb http://security.debian.org/debian-security ${suite.name}-security ${components}`)
  }
  return `${lines.join('\n')}\n`
}

async function put(root: string, name: string, text: string, mode: number): Promise<void> {
  const path = join(root, name)
  await rm(path, { force: true })
  await writeFile(path, text, { mode, flag: 'wx' })
}

async function empty(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true, force: true })
}
