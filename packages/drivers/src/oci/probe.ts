import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import type { DriverProbe, SandboxSpec } from '../driver.ts'
import { runCommand } from '../host/command.ts'
import { maxOpenFiles } from '../host/limits.ts'
import { unmountAll } from '../host/mounts.ts'
import { probeSupervisor } from '../lifecycle/supervisor-config.ts'
import type { SandboxCgroups } from './cgroups/cgroups.ts'
import { sandboxConfig } from './config.ts'
import { makeOverlayFolders, mountOverlay, overlayFolders } from './overlay.ts'
import { type Runc, runcPaths } from './runc.ts'

export interface ProbeInput {
  root: string
  uidBase: number
  cgroups: SandboxCgroups
  runc: Runc
}

const PREFIX = '.probe-'
const BUSYBOX = '/bin/busybox'
const TIMEOUT_MS = 15_000

/**
 * Runs one program in a container made exactly as a sandbox is made: same namespaces, mounts, limits and system call filter, over
 * a root file system that holds a static busybox. What works here works for sandboxes; the reason it gives is runc's own.
 */
export async function probeOci(input: ProbeInput, progress: Progress): Promise<DriverProbe> {
  const refused = preconditions(input.root)
  if (refused) return { available: false, detail: refused }
  try {
    return { available: true, detail: await runOnce(input, progress.within(TIMEOUT_MS)) }
  } catch (cause) {
    const error = CoppiceError.from(cause)
    return { available: false, detail: error.hint === undefined ? error.message : `${error.message} (${error.hint})` }
  }
}

function preconditions(root: string): string | undefined {
  if (process.getuid?.() !== 0) return 'The oci driver needs root: it mounts file systems and makes cgroups.'
  if (!existsSync(BUSYBOX)) return `${BUSYBOX} is missing: apt-get install busybox-static.`
  for (let folder = root; folder !== '/'; folder = dirname(folder)) {
    // A sandbox's root is an ordinary user for the host and must be able to walk to its files.
    if ((statSync(folder).mode & 0o001) === 0)
      return `Sandboxes cannot reach their files through ${folder}: chmod o+x ${folder}.`
  }
  return undefined
}

async function runOnce({ root, uidBase, cgroups, runc }: ProbeInput, progress: Progress): Promise<string> {
  for (const name of readdirSync(root)) if (name.startsWith(PREFIX)) await discard(join(root, name))
  const suffix = randomBytes(4).toString('hex')
  const id = `probe-${suffix}`
  const folder = join(root, `${PREFIX}${suffix}`)
  try {
    const layer = makeLayer(folder, uidBase)
    const overlay = overlayFolders(folder)
    makeOverlayFolders(overlay, [layer], uidBase)
    await mountOverlay(overlay, [layer], progress)
    await cgroups.prepare(id, uidBase)
    const empty = join(folder, 'empty')
    mkdirSync(empty, { mode: 0o711 })
    const spec = probeSpec(id, empty)
    const config = sandboxConfig({
      spec,
      rootfs: overlay.merged,
      stateDir: empty,
      uidBase,
      cgroups,
      maxOpenFiles: maxOpenFiles(),
    })
    config.process.args = ['/bin/busybox', 'true']
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config))
    const output = openSync(join(folder, 'output'), 'w')
    try {
      await runc.runToEnd(id, runcPaths(folder), output, progress)
    } finally {
      closeSync(output)
    }
    return `${await runcVersion(runc)}, cgroup v${cgroups.version}, overlayfs.`
  } finally {
    await cgroups.destroy(id)
    await discard(folder)
    cgroups.prune()
  }
}

function makeLayer(folder: string, owner: number): string {
  mkdirSync(folder, { mode: 0o711 })
  chmodSync(folder, 0o711)
  const layer = join(folder, 'layer')
  mkdirSync(join(layer, 'bin'), { recursive: true, mode: 0o755 })
  copyFileSync(BUSYBOX, join(layer, 'bin/busybox'))
  for (const path of [layer, join(layer, 'bin'), join(layer, 'bin/busybox')]) {
    chmodSync(path, 0o755)
    chownSync(path, owner, owner)
  }
  return layer
}

function probeSpec(id: string, empty: string): SandboxSpec {
  return {
    id,
    hostname: 'probe',
    image: { digest: '', layers: [], config: { env: {}, cwd: '/', user: '', entrypoint: [], cmd: [], labels: {} } },
    limits: { memoryMB: 64, cpus: 1, pids: 64 },
    readOnlyRoot: false,
    runtimeDir: empty,
    runDir: empty,
    supervisor: probeSupervisor(id),
    labels: {},
  }
}

async function runcVersion(runc: Runc): Promise<string> {
  const { text } = await runCommand(runc.program, ['--version'])
  return text.split('\n')[0] ?? 'runc'
}

async function discard(folder: string): Promise<void> {
  await unmountAll(folder)
  rmSync(folder, { recursive: true, force: true })
}
