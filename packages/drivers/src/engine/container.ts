import type { ContainerConfig, ContainerUpdate, Dialect, Mount } from '@coppice/engines'
import type { Limits } from '@coppice/protocol/wire'
import type { SandboxSpec } from '../driver.ts'
import { maxProcesses } from '../host/limits.ts'
import { sandboxCapabilities } from '../oci/capabilities.ts'
import { CPU_PERIOD_US, cpuQuota, cpuShares } from '../oci/cgroups/cpu.ts'
import { MASKED_PATHS, READONLY_PATHS } from '../oci/paths.ts'
import { sandboxSeccomp } from '../oci/seccomp.ts'
import type { SandboxPaths } from './paths.ts'

export interface ContainerInput {
  spec: SandboxSpec
  paths: SandboxPaths
  /** Id of the image at the engine. */
  image: string
  dialect: Dialect
  /** Containers have a user namespace of their own: see `noNewPrivileges` of the oci driver. */
  shifted: boolean
  /** Highest RLIMIT_NOFILE to ask for. */
  maxOpenFiles: number
}

/** Open files that a program gets without asking, and that it may raise itself to. As in the oci driver. */
const SOFT_OPEN_FILES = 65_536
const HARD_OPEN_FILES = 1_048_576

/** The container of a sandbox: what the oci driver gives to runc, in the engines' words. */
export function sandboxContainer(input: ContainerInput): ContainerConfig {
  const { spec, paths, dialect } = input
  const hard = Math.min(input.maxOpenFiles, HARD_OPEN_FILES)
  const seccomp = dialect.seccomp === 'inline' ? JSON.stringify(sandboxSeccomp()) : paths.seccomp
  return {
    Image: input.image,
    Hostname: spec.hostname,
    User: '0:0',
    WorkingDir: '/',
    Entrypoint: ['/.coppice/tini', '--', '/.coppice/busybox', 'sh', '/.coppice/init.sh'],
    Cmd: [],
    Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root', 'COPPICE_OWN_PIDNS=1'],
    StopSignal: 'SIGTERM',
    Healthcheck: { Test: ['NONE'] },
    Labels: spec.labels,
    HostConfig: {
      Mounts: sandboxMounts(paths),
      NetworkMode: 'none',
      CapDrop: ['ALL'],
      CapAdd: sandboxCapabilities().bounding,
      SecurityOpt: [...(input.shifted ? [] : ['no-new-privileges']), `seccomp=${seccomp}`],
      ...containerLimits(spec.limits),
      ReadonlyRootfs: spec.readOnlyRoot,
      // Programs expect to write there whatever the root is.
      Tmpfs: spec.readOnlyRoot
        ? { '/tmp': 'rw,exec,nosuid,nodev,mode=1777', '/run': 'rw,exec,nosuid,nodev,mode=755' }
        : {},
      ShmSize: 64 * 1024 * 1024,
      Sysctls: { 'net.ipv4.ip_unprivileged_port_start': '0', 'net.ipv4.ping_group_range': '0 65535' },
      Ulimits: [
        { Name: 'nofile', Soft: Math.min(hard, SOFT_OPEN_FILES), Hard: hard },
        { Name: 'core', Soft: 0, Hard: 0 },
        ...(dialect.raisesProcessLimit ? [processLimit()] : []),
      ],
      Init: false,
      IpcMode: 'private',
      CgroupnsMode: 'private',
      RestartPolicy: { Name: 'no' },
      LogConfig: { Type: dialect.logDriver, Config: { 'max-size': '1m' } },
      MaskedPaths: MASKED_PATHS,
      ReadonlyPaths: READONLY_PATHS,
    },
  }
}

/** What everybody has: it counts a user's processes all over the host, so it is no limit for one sandbox. */
function processLimit(): { Name: string; Soft: number; Hard: number } {
  const limit = maxProcesses()
  return { Name: 'nproc', Soft: limit, Hard: limit }
}

/** The limits alone, as they can be changed later. */
export function containerLimits(limits: Limits): Required<ContainerUpdate> {
  const memory = limits.memoryMB * 1024 * 1024
  return {
    Memory: memory,
    // Memory and swap together: the same figure for both means no swap.
    MemorySwap: memory,
    CpuPeriod: CPU_PERIOD_US,
    CpuQuota: cpuQuota(limits.cpus),
    CpuShares: cpuShares(limits.cpus),
    PidsLimit: limits.pids,
  }
}

function sandboxMounts(paths: SandboxPaths): Mount[] {
  return [
    bind(paths.runtime, '/.coppice', true),
    bind(paths.run, '/.coppice-run', true),
    bind(paths.state, '/.coppice-state', false),
    ...['hosts', 'hostname', 'resolv.conf'].map((name) => bind(`${paths.etc}/${name}`, `/etc/${name}`, false)),
  ]
}

function bind(source: string, target: string, readOnly: boolean): Mount {
  return { Type: 'bind', Source: source, Target: target, ReadOnly: readOnly, BindOptions: { Propagation: 'rprivate' } }
}
