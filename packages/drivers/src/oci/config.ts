import type { SandboxSpec } from '../driver.ts'
import { sandboxCapabilities } from './capabilities.ts'
import type { SandboxCgroups } from './cgroups/cgroups.ts'
import { sandboxMounts } from './mounts.ts'
import type { OciConfig } from './oci-types.ts'
import { MASKED_PATHS, READONLY_PATHS } from './paths.ts'
import { sandboxSeccomp } from './seccomp.ts'

/** uids and gids of a sandbox: 0 to 65535 inside. */
export const ID_RANGE = 65_536

export interface ConfigInput {
  spec: SandboxSpec
  rootfs: string
  stateDir: string
  uidBase: number
  cgroups: SandboxCgroups
  /** Highest RLIMIT_NOFILE that this process may hand on: raising it needs a capability that root may not have. */
  maxOpenFiles: number
}

/** Open files that a program gets without asking; servers raise it to the hard limit themselves. */
const SOFT_OPEN_FILES = 65_536
const HARD_OPEN_FILES = 1_048_576

/**
 * Of the sandbox's own network namespace, as in Docker: every user may listen on every port, and ping. The range of groups ends
 * where the sandbox's own do: beyond it the kernel refuses the whole.
 */
const SYSCTL = {
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ping_group_range': `0 ${ID_RANGE - 1}`,
}

/** The runc configuration of a sandbox. */
export function sandboxConfig(input: ConfigInput): OciConfig {
  const { spec, uidBase, cgroups } = input
  const mapping = [{ containerID: 0, hostID: uidBase, size: ID_RANGE }]
  const shifted = uidBase > 0
  const hard = Math.min(input.maxOpenFiles, HARD_OPEN_FILES)
  const namespaces = ['pid', 'mount', 'uts', 'ipc', 'cgroup', 'network', ...(shifted ? ['user'] : [])]
  return {
    ociVersion: '1.0.2',
    hostname: spec.hostname,
    root: { path: input.rootfs, readonly: spec.readOnlyRoot },
    process: {
      terminal: false,
      user: { uid: 0, gid: 0 },
      args: ['/.coppice/tini', '--', '/.coppice/busybox', 'sh', '/.coppice/init.sh'],
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root', 'COPPICE_OWN_PIDNS=1'],
      cwd: '/',
      capabilities: sandboxCapabilities(),
      rlimits: [
        { type: 'RLIMIT_NOFILE', soft: Math.min(hard, SOFT_OPEN_FILES), hard },
        // The host's core_pattern may be a program that runs as the host's root.
        { type: 'RLIMIT_CORE', soft: 0, hard: 0 },
      ],
      // Setuid programs must work (sudo), and may: root in a user namespace of its own is nobody outside.
      noNewPrivileges: !shifted,
    },
    mounts: sandboxMounts({ ...input, cgroupMounts: cgroups.mounts(spec.id) }),
    annotations: spec.labels,
    linux: {
      namespaces: namespaces.map((type) => ({ type })),
      ...(shifted ? { uidMappings: mapping, gidMappings: mapping } : {}),
      cgroupsPath: cgroups.runcPath(spec.id),
      sysctl: SYSCTL,
      resources: { devices: [{ allow: false, access: 'rwm' }], ...cgroups.resources(spec.limits) },
      seccomp: sandboxSeccomp(),
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READONLY_PATHS,
    },
  }
}
