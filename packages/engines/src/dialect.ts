/** Who answers at the other end. */
export type EngineKind = 'docker' | 'podman'

/**
 * Where the two engines differ behind the same API. Everything that asks "is it Podman?" asks here; found by trying Docker 20.10
 * and Podman 4.3.
 */
export interface Dialect {
  kind: EngineKind
  /** As people write it. */
  title: string
  /** What `images/load` takes when layers that the engine has are left out: Podman refuses a Docker archive that is not whole. */
  imageArchive: 'docker-archive' | 'oci-archive'
  /** It takes layers packed by zstd in such an archive. Docker does from version 23 on. */
  takesZstd: boolean
  /**
   * Which layers it can do without. chain: the lowest ones of an image, as another image has them in the same order. each: any
   * layer that any image has.
   */
  layerReuse: 'chain' | 'each'
  /** How a system call filter is named in `SecurityOpt`: as JSON text, or as a path that the engine reads. */
  seccomp: 'inline' | 'file'
  /** It raises RLIMIT_NPROC of a container to the kernel's highest unless told otherwise, and fails where it may not. */
  raisesProcessLimit: boolean
  /**
   * How it is asked for events of the past alone. until: up to now. no-stream: a parameter of Podman's own, because it takes an
   * end in the past for none, or for all.
   */
  eventHistory: 'until' | 'no-stream'
  /** Whose call changes limits: Podman's is one of its own API, and changes a running container only. */
  limitUpdates: 'docker' | 'libpod'
  /**
   * A log driver of the engine's own that can be read back and has a bound. Podman's leaves out the first part of a line that was
   * written in parts.
   */
  logDriver: string
  /** Its API has the session that BuildKit needs. Podman builds with its own builder behind Docker's classic call. */
  buildKit: boolean
  /** The next command when nothing answers at its socket. */
  startHint: string
}

export const DIALECTS: Record<EngineKind, Dialect> = {
  docker: {
    kind: 'docker',
    title: 'Docker',
    imageArchive: 'docker-archive',
    takesZstd: false,
    layerReuse: 'chain',
    seccomp: 'inline',
    raisesProcessLimit: false,
    eventHistory: 'until',
    limitUpdates: 'docker',
    logDriver: 'local',
    buildKit: true,
    startHint: 'systemctl start docker',
  },
  podman: {
    kind: 'podman',
    title: 'Podman',
    imageArchive: 'oci-archive',
    takesZstd: true,
    layerReuse: 'each',
    seccomp: 'file',
    raisesProcessLimit: true,
    eventHistory: 'no-stream',
    limitUpdates: 'libpod',
    logDriver: 'k8s-file',
    buildKit: false,
    startHint: 'systemctl start podman.socket',
  },
}

/** Podman names its own API in every answer of the one that it shares with Docker. */
export function kindOf(headers: Record<string, unknown>): EngineKind {
  return headers['libpod-api-version'] === undefined ? 'docker' : 'podman'
}
