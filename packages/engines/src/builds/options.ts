import type { FindLogin } from '../buildkit/session-services.ts'

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
  /** Who asks registries for base images. BuildKit asks; other builders know only what their engine is told elsewhere. */
  findLogin?: FindLogin
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
