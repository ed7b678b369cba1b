import { chownSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SandboxSpec } from '../driver.ts'
import type { SandboxFolder } from '../lifecycle/folder.ts'
import { renewResolverFile, writeNetworkFiles } from '../oci/network-files.ts'
import { sandboxSeccomp } from '../oci/seccomp.ts'
import type { ContainerRoot } from './owner.ts'

/**
 * What a sandbox's container mounts from this host. A container keeps the paths that it was made with for life, and the bundle's
 * and the socket folder's may be others at the next start: the container is given links, which are set anew before each.
 */
export interface SandboxPaths {
  /** Link to the runtime bundle. */
  runtime: string
  /** Link to the socket folder. */
  run: string
  state: string
  /** Holds `hosts`, `hostname` and `resolv.conf`. */
  etc: string
  /** Is there from the moment on at which the engine may have a container for this sandbox. Holds its id once it has. */
  asked: string
  /** The system call filter, for engines that read it from a file. */
  seccomp: string
}

export function sandboxPaths(folder: SandboxFolder): SandboxPaths {
  const at = (name: string): string => join(folder.path, name)
  return {
    runtime: at('runtime'),
    run: at('run'),
    state: folder.state,
    etc: at('files/etc'),
    asked: at('asked'),
    seccomp: at('seccomp.json'),
  }
}

/** Makes what the container mounts, for the first start or a later one. */
export function preparePaths(
  folder: SandboxFolder,
  spec: SandboxSpec,
  root: ContainerRoot,
  fresh: boolean,
): SandboxPaths {
  const paths = sandboxPaths(folder)
  const files = join(folder.path, 'files')
  if (fresh) {
    mkdirSync(paths.state, { mode: 0o700 })
    chownSync(paths.state, root.uid, root.gid)
    mkdirSync(files, { mode: 0o755 })
    writeNetworkFiles(files, spec.hostname, root.uid)
    writeFileSync(paths.seccomp, JSON.stringify(sandboxSeccomp()), { mode: 0o600 })
  } else {
    renewResolverFile(files, spec.hostname, root.uid)
  }
  link(paths.runtime, spec.runtimeDir)
  link(paths.run, spec.runDir)
  return paths
}

function link(path: string, target: string): void {
  const temporary = `${path}.new`
  rmSync(temporary, { force: true })
  symlinkSync(target, temporary)
  renameSync(temporary, path)
}
