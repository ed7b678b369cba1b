/** The part of the engines' API that we use, as Docker 1.40 and later have it. Members that one of them leaves out are optional. */

export interface EngineInfo {
  ID: string
  OSType: string
  DockerRootDir?: string
  CgroupVersion?: string
  MemoryLimit: boolean
  /** Docker 1.41 and Podman. */
  CpuCfsQuota?: boolean
  PidsLimit?: boolean
  SecurityOptions?: string[] | null
  Rootless?: boolean
  ServerVersion?: string
}

export interface Mount {
  Type: 'bind'
  Source: string
  Target: string
  ReadOnly: boolean
  BindOptions?: { Propagation: 'rprivate' }
}

export interface HostConfig {
  Mounts?: Mount[]
  NetworkMode?: string
  CapDrop?: string[]
  CapAdd?: string[]
  SecurityOpt?: string[]
  Memory?: number
  /** Memory and swap together. */
  MemorySwap?: number
  CpuQuota?: number
  CpuPeriod?: number
  CpuShares?: number
  PidsLimit?: number
  ReadonlyRootfs?: boolean
  Tmpfs?: Record<string, string>
  ShmSize?: number
  Sysctls?: Record<string, string>
  Ulimits?: { Name: string; Soft: number; Hard: number }[]
  Init?: boolean
  IpcMode?: string
  CgroupnsMode?: string
  RestartPolicy?: { Name: string }
  LogConfig?: { Type: string; Config: Record<string, string> }
  MaskedPaths?: string[]
  ReadonlyPaths?: string[]
}

export interface ContainerConfig {
  Image: string
  Hostname?: string
  User?: string
  WorkingDir?: string
  Env?: string[]
  Entrypoint?: string[]
  Cmd?: string[]
  StopSignal?: string
  Labels?: Record<string, string>
  Healthcheck?: { Test: string[] }
  HostConfig?: HostConfig
}

/** What can be changed while a container runs. */
export type ContainerUpdate = Pick<
  HostConfig,
  'Memory' | 'MemorySwap' | 'CpuQuota' | 'CpuPeriod' | 'CpuShares' | 'PidsLimit'
>

export interface ContainerSummary {
  Id: string
  /** With a slash in front. */
  Names: string[]
  Labels?: Record<string, string> | null
  State: string
  /** Unix seconds. */
  Created: number
}

export interface ContainerInspection {
  Id: string
  Name: string
  Image: string
  State: {
    Status: string
    Running: boolean
    Paused?: boolean
    OOMKilled?: boolean
    Dead?: boolean
    Pid: number
    ExitCode: number
    Error?: string
    StartedAt: string
    FinishedAt: string
  }
  Config: { Labels?: Record<string, string> | null; Hostname?: string }
  HostConfig: HostConfig
  /** What is mounted in it by the engine: `bind`, `volume`, `tmpfs`, … */
  Mounts?: { Type: string; Destination: string }[] | null
}

export interface ImageSummary {
  Id: string
  RepoTags?: string[] | null
  Labels?: Record<string, string> | null
}

export interface ImageInspection {
  Id: string
  RepoTags?: string[] | null
  Size: number
  Architecture?: string
  RootFS?: { Type?: string; Layers?: string[] | null }
  /** How its topmost layer is kept, where the engine says so. */
  GraphDriver?: { Name: string; Data?: Record<string, string> | null } | null
  Config?: Record<string, unknown> | null
}

/** What `archive` says about a path in a container. */
export interface PathStat {
  name: string
  size: number
  /** Go's file mode. */
  mode: number
  mtime: string
  linkTarget: string
}

export interface EngineEvent {
  type: string
  /** As Docker names it: `die`, `destroy`, `oom`, `kill`, `start`. */
  action: string
  /** Id of the container or image. */
  id: string
  attributes: Record<string, string>
  /** Unix time in milliseconds. */
  at: number
}
