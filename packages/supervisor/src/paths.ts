import { join } from 'node:path'

/** Programs of the runtime bundle that the supervisor runs. All of them work in an image that holds nothing. */
export interface Tools {
  /** Static busybox: the launcher's shell, `mkfifo`, `tar`. */
  readonly busybox: string
  /** Static tini: the subreaper of an exec where there are no cgroups. */
  readonly tini: string
  /** Words that run util-linux `setpriv`, through the bundle's loader where it is the bundle's. */
  readonly setpriv: readonly string[]
}

/** Where the supervisor finds and keeps things. */
export interface SupervisorPaths {
  readonly tools: Tools
  /** `SupervisorConfig` as JSON. */
  readonly config: string
  /** The gateway's socket. */
  readonly socket: string
  /** Survives the supervisor: exec log, journals, upload state. */
  readonly stateDir: string
  /** Delegated cgroup, or a path that does not exist. */
  readonly cgroupDir: string
}

/** The variables that tell the paths. They are the supervisor's own and are never given to an exec. */
export const PATH_VARIABLES = [
  'COPPICE_RUNTIME_DIR',
  'COPPICE_RUN_DIR',
  'COPPICE_STATE_DIR',
  'COPPICE_CGROUP_DIR',
] as const

/** Reads the paths from the environment; each has the default that drivers mount to. */
export function pathsFromEnv(env: NodeJS.ProcessEnv): SupervisorPaths {
  const runtime = env.COPPICE_RUNTIME_DIR ?? '/.coppice'
  const run = env.COPPICE_RUN_DIR ?? '/.coppice-run'
  return {
    tools: {
      busybox: join(runtime, 'busybox'),
      tini: join(runtime, 'tini'),
      setpriv: [join(runtime, 'ld.so'), '--library-path', join(runtime, 'lib'), join(runtime, 'setpriv')],
    },
    config: join(run, 'sandbox.json'),
    socket: join(run, 'gw.sock'),
    stateDir: env.COPPICE_STATE_DIR ?? '/.coppice-state',
    cgroupDir: env.COPPICE_CGROUP_DIR ?? '/.coppice-cgroup',
  }
}
