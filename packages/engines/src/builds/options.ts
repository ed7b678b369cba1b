import type { FindLogin } from '../buildkit/session-services.ts'
import type { RequestBody } from '../http/upload.ts'

/** Bytes that steps of a build may read (`RUN --mount=type=secret,id=…`), by id. They are in no image, log or cache key. */
export type BuildSecrets = ReadonlyMap<string, Uint8Array>

/** A context as a tar. */
export interface BuildContext extends RequestBody {
  /**
   * Entries at its front that the builder alone reads: the Dockerfile, then others; steps do not see them. Default 0: all of it is the
   * context. Where there are any, the names of what follows are sorted as a walk of the folder finds them. Builders that read the ignore file by
   * themselves are sent them like the rest.
   */
  hidden?: number
}

export interface BuildOptions {
  /** Name of the result. */
  tag: string
  /** Path of the Dockerfile in the context. */
  dockerfile?: string
  buildArgs?: Record<string, string>
  target?: string
  noCache?: boolean
  labels?: Record<string, string>
  /** Of the steps that run something: `none`, `host`, a network's name. The engine's own choice when absent. */
  network?: string
  /** Builds with the classic builder also where there is BuildKit. */
  classic?: boolean
  /** Who asks registries for base images. BuildKit asks for each that it needs; other builders are told of `registries`. */
  findLogin?: FindLogin
  /** Hosts whose logins a builder is told that does not ask, `docker.io` for Docker's own. Default: none. */
  registries?: string[]
  /** See `BuildSecrets`. Docker's classic builder has no such thing. */
  secrets?: BuildSecrets
}

/** What both of Docker's builders are told in the same words. */
export function buildQuery(options: BuildOptions): Record<string, string | undefined> {
  return {
    t: options.tag,
    dockerfile: options.dockerfile,
    buildargs: options.buildArgs && JSON.stringify(options.buildArgs),
    labels: options.labels && JSON.stringify(options.labels),
    target: options.target,
    networkmode: options.network,
    nocache: options.noCache ? 'true' : undefined,
  }
}
