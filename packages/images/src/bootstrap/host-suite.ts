import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** Which Debian or Ubuntu is installed, and from where. */
export interface Suite {
  /** `bookworm`, `noble`. */
  name: string
  /** Where its packages are. */
  mirror: string
  /** Parts of the archive that are needed. */
  components: string[]
  /** HTTP proxy, when apt of this host uses one. */
  proxy: string | undefined
}

const MIRRORS: Record<string, string> = {
  debian: 'http://deb.debian.org/debian',
  ubuntu: 'http://archive.ubuntu.com/ubuntu',
}

/** Used when the host is neither Debian nor Ubuntu. */
const FALLBACK = { id: 'debian', codename: 'bookworm' }

/** What this host runs itself, from the mirror that it uses itself, so that a closed network's own mirror is found. */
export async function hostSuite(wanted: { suite?: string; mirror?: string } = {}): Promise<Suite> {
  const host = await hostRelease()
  const name = wanted.suite ?? host.codename
  const configured = wanted.mirror ?? (name === host.codename ? await configuredMirror(name) : undefined)
  return {
    name,
    mirror: configured ?? MIRRORS[host.id] ?? '',
    components: host.id === 'ubuntu' ? ['main', 'universe'] : ['main'],
    proxy: await configuredProxy(),
  }
}

async function hostRelease(): Promise<{ id: string; codename: string }> {
  const text = await readFile('/etc/os-release', 'utf8').catch(() => '')
  const field = (key: string) => new RegExp(`^${key}="?([a-z]+)"?$`, 'm').exec(text)?.[1]
  const id = field('ID')
  const codename = field('VERSION_CODENAME')
  return id && codename && id in MIRRORS ? { id, codename } : FALLBACK
}

/** apt reads all of its formats by itself; undefined where there is no apt or no such suite. */
async function configuredMirror(suite: string): Promise<string | undefined> {
  const format = ['indextargets', '--format', '$(REPO_URI) $(CODENAME) $(SUITE) $(COMPONENT)', 'Created-By: Packages']
  const lines = await output('apt-get', format)
  const rows = lines.map((line) => line.split(' ')).filter(([uri]) => uri?.startsWith('http'))
  const row = rows.find(([, codename, , component]) => codename === suite && component === 'main')
  return row?.[0]?.replace(/\/$/, '')
}

async function configuredProxy(): Promise<string | undefined> {
  const [line] = await output('apt-config', ['shell', 'PROXY', 'Acquire::http::Proxy'])
  return /^PROXY='(.+)'$/.exec(line ?? '')?.[1]
}

async function output(program: string, args: string[]): Promise<string[]> {
  try {
    return (await execute(program, args)).stdout.split('\n').filter((line) => line !== '')
  } catch {
    return []
  }
}
