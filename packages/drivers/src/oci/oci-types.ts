/** The part of the OCI runtime specification (1.0) that we write. https://github.com/opencontainers/runtime-spec */
export interface OciMount {
  destination: string
  type: string
  source: string
  options: string[]
}

export interface OciResources {
  devices?: { allow: boolean; access: string }[]
  memory?: { limit: number; swap?: number }
  cpu?: { quota: number; period: number; shares?: number }
  pids?: { limit: number }
  /** Control files of version 2 and what is written to them. */
  unified?: Record<string, string>
}

export interface OciSyscallRule {
  names: string[]
  action: 'SCMP_ACT_ALLOW' | 'SCMP_ACT_ERRNO'
  errnoRet?: number
  args?: { index: number; value: number; valueTwo?: number; op: 'SCMP_CMP_EQ' | 'SCMP_CMP_LT' | 'SCMP_CMP_MASKED_EQ' }[]
}

export interface OciSeccomp {
  defaultAction: 'SCMP_ACT_ERRNO'
  defaultErrnoRet: number
  architectures: string[]
  syscalls: OciSyscallRule[]
}

export interface OciCapabilities {
  bounding: string[]
  effective: string[]
  permitted: string[]
  inheritable: string[]
  ambient: string[]
}

export interface OciConfig {
  ociVersion: '1.0.2'
  hostname: string
  root: { path: string; readonly: boolean }
  process: {
    terminal: false
    user: { uid: number; gid: number }
    args: string[]
    env: string[]
    cwd: string
    capabilities: OciCapabilities
    rlimits: { type: string; soft: number; hard: number }[]
    noNewPrivileges: boolean
  }
  mounts: OciMount[]
  annotations: Record<string, string>
  linux: {
    namespaces: { type: string }[]
    uidMappings?: { containerID: number; hostID: number; size: number }[]
    gidMappings?: { containerID: number; hostID: number; size: number }[]
    cgroupsPath: string
    sysctl: Record<string, string>
    resources: OciResources
    seccomp: OciSeccomp
    maskedPaths: string[]
    readonlyPaths: string[]
  }
}
