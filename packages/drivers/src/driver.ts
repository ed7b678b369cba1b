/**
 * # Drivers
 *
 * A driver makes sandboxes. This file is its manual; `describeDriver` (contract.ts) is its examination.
 *
 * ## Vocabulary
 * - **sandbox**: an isolated place with its own files, processes and memory, whose PID 1 is the init of the runtime bundle.
 * - **runtime bundle**: a folder on the host, mounted read-only at `/.coppice`.
 * - **socket folder**: a folder on the host, mounted read-only at `/.coppice-run`. The gateway listens on `gw.sock` in it; the
 *   driver puts `sandbox.json` (the supervisor's configuration, with its token) into it, readable by the sandbox's root alone.
 * - **state folder**: belongs to the driver, mounted at `/.coppice-state`. The supervisor's journals survive in it.
 *
 * ## Life cycle
 * ```
 *            create                    stop                      start
 *   (nothing) ─────▶ running ──────────────────▶ stopped ──────────────────▶ running
 *       ▲               │ exits by itself, is killed ─▶ stopped                 │
 *       └───────────────┴──────────────── remove ───────────────────────────────┘
 * ```
 * `create` prepares and starts: it returns when PID 1 runs, not when the supervisor has dialled in. A `create` that fails or
 * is aborted leaves nothing. `stop` keeps the files, `start` runs the same files again, `remove` leaves nothing and is a
 * success when there was nothing. Calls for one sandbox are made one after the other by the gateway; calls for different
 * sandboxes come at the same time.
 *
 * Sandboxes do not belong to the process that made them: when the gateway dies they go on, and a new driver object over the
 * same folder finds them by `list` and watches them as if it had made them. A `create` or `start` that was cut off by a crash is
 * in that list too, stopped with the reason `gateway_interrupted`: a started one can be started again, a created one only removed.
 *
 * ## Ends
 * Every end has one reason, which comes from what was observed, never from a guess: `stopped` and `removed` were asked for,
 * `exited` is an init that ended by itself and in order, `oom_killed` one that the kernel killed for memory, `killed` one that
 * was killed by somebody else, `host_rebooted` one that ran in another boot of the host, `vanished` one whose files are gone.
 * A removed sandbox is told to the watchers like any other end.
 *
 * ## Errors
 * Everything is a `CoppiceError`. `unavailable` when the engine is not there, `resource_exhausted` when the host refuses,
 * `failed_precondition` for a call in the wrong state, `unsupported` for what the capabilities do not declare. A driver
 * never does something weaker than asked without an error.
 */
import type { EndRecord, ImageConfig, Limits, Progress, ResourceUse, SupervisorConfig } from '@coppice/protocol/wire'

/** What a driver can do. Asking for more is an `unsupported` error that names a driver that can. */
export interface DriverCapabilities {
  /** How strong the wall is: its own kernel, a shared kernel behind namespaces, or none. */
  isolation: 'vm' | 'namespaces' | 'none'
  checkpoint: 'none' | 'filesystem' | 'memory'
  /** Limits can be changed while a sandbox runs. */
  resize: boolean
  /** Memory, CPU and pids limits are enforced. */
  limits: boolean
  readOnlyRoot: boolean
  /** session: no interface but loopback, everything goes through the session. host: the sandbox has the host's network. */
  network: 'session' | 'host'
}

/**
 * Connections of the sandbox's own programs that are led to its supervisor, with their addresses unchanged: a listener on
 * `0.0.0.0:at` sees the address asked for as its own local address. What goes to `ranges` and is not listed is refused there:
 * it never ends at a listener of the sandbox's own. 127.0.0.0/8 stays the sandbox's own whatever `ranges` says.
 */
export interface InterceptPlan {
  /** The resolver's IPv4 address inside, and the supervisor's port behind its port 53 (UDP and TCP). */
  resolver: { address: string; at: number }
  /** IPv4 ranges (CIDR) that the sandbox routes to itself. */
  ranges: string[]
  /** Connections to `port` of any address of `ranges` arrive at the supervisor's port `at`; each `at` stands for one port. */
  ports: { port: number; at: number }[]
}

/** What a probe found out by running something, not by looking for a file. */
export interface DriverProbe {
  available: boolean
  /** One sentence: the version that works, or why it does not and what would help. */
  detail: string
}

/** A layer as the content store has it. */
export interface LayerBlob {
  /** Digest of the layer unpacked: what an engine knows it by, however it came. */
  diffId: string
  /** Digest of the blob. */
  digest: string
  sizeBytes: number
  encoding: 'identity' | 'gzip' | 'zstd'
  /** Its bytes, read as they are wanted: exactly `sizeBytes`. */
  open(): Promise<AsyncIterable<Buffer>>
}

/** An image as a driver sees it: folders to stack, and what the image says about its programs. */
export interface DriverImage {
  digest: string
  /**
   * Unpacked layers on the host, lowest first, already owned as `uidBase` says (see `Driver.uidBase`). They are shared by all
   * sandboxes and never written to.
   */
  layers: string[]
  /** The same layers packed, lowest first, for drivers that want `blobs`. */
  blobs?: LayerBlob[]
  config: ImageConfig
}

export interface SandboxSpec {
  id: string
  hostname: string
  image: DriverImage
  limits: Limits
  readOnlyRoot: boolean
  /** The runtime bundle's folder. */
  runtimeDir: string
  /** The socket folder. */
  runDir: string
  supervisor: SupervisorConfig
  /** Kept with the sandbox where the engine has labels. Always holds `coppice.home` and `coppice.sandbox`. */
  labels: Record<string, string>
}

/** A sandbox as the driver finds it. */
export interface DriverSandbox {
  id: string
  state: 'running' | 'stopped'
  /** PID of the init as the host sees it, where there is one. */
  pid: number | null
  /** How it ended, when it is stopped and the driver knows. */
  end: Pick<EndRecord, 'reason' | 'message' | 'exitCode' | 'at'> | null
}

/** Whether what a driver depends on is there, told when it changes. */
export interface DriverNotice {
  available: boolean
  /** One sentence. */
  detail: string
  /** Unix milliseconds. */
  at: number
}

/**
 * The files of a sandbox as they differ from those of its image, of one instant. Folders and files that are mounted into it are no
 * part of them, nor are sockets. What the engine can keep is kept: modes, owners, links, deletions, file capabilities.
 */
export interface SavedFiles {
  /**
   * What `chunks` are. layer: an OCI layer as tar, not packed. docker-archive: what `docker save` writes, in which the layer
   * `diffId` is what was saved.
   */
  form: 'layer' | 'docker-archive'
  /** What the layer hashes to as it comes. Always there for `docker-archive`. */
  diffId?: string
  /** To be read once, by one reader. Ends with an error when the progress of the call does, or when the engine fails. */
  chunks: AsyncIterable<Uint8Array>
  /** Paths (without a slash in front) that stand in the layer and are the engine's, not the sandbox's, with all below them. */
  leaveOut: readonly string[]
  /** Bytes that will come, where that is known. */
  sizeBytes?: number
  /** Gives back what holds them, read to the end or not. Never throws; what cannot be given back now is later. */
  dispose(): Promise<void>
}

/** Told once for every end of a running sandbox, whoever caused it. */
export type ExitListener = (sandbox: DriverSandbox & { use: ResourceUse | null }) => void

export interface Driver {
  readonly name: string
  readonly capabilities: DriverCapabilities
  /**
   * First host uid and gid of the range that sandboxes are mapped to (uid N inside is `uidBase + N` outside), or 0 when
   * the engine maps by itself. Layers are unpacked for this base.
   */
  readonly uidBase: number
  /**
   * What `create` needs of an image. unpacked (when absent): `layers`. blobs: `blobs`; its engine keeps images of its own, and
   * `layers` may be empty.
   */
  readonly wants?: 'unpacked' | 'blobs'

  /** Finds out whether this driver works here. May take seconds the first time; never throws for "does not work". */
  probe(progress: Progress): Promise<DriverProbe>
  create(spec: SandboxSpec, progress: Progress): Promise<DriverSandbox>
  /** Starts a stopped sandbox again with the spec given: the token and socket folder may have changed, the files have not. */
  start(spec: SandboxSpec, progress: Progress): Promise<DriverSandbox>
  /** SIGTERM to the init, which ends everything in order; SIGKILL after `graceMs` (at once for 0). A success when it is stopped already. */
  stop(id: string, graceMs: number, progress: Progress): Promise<void>
  /** Kills and removes, in whatever state: half-made sandboxes and ids that nobody knows too. */
  remove(id: string, progress: Progress): Promise<void>
  /** Everything of ours that the engine has, whoever made it. */
  list(progress: Progress): Promise<DriverSandbox[]>
  /** One sandbox, or undefined. Cheap: it is asked whenever a session breaks. */
  inspect(id: string): Promise<DriverSandbox | undefined>
  stats(id: string): Promise<ResourceUse>
  /**
   * Puts a plan into force in a running sandbox, in place of the one before. It is no wall (there is no way out of the sandbox
   * either way): it serves programs that know no proxy, and keeps the sandbox's own listeners on those ports working. It lasts
   * until the sandbox ends. Not an error where it cannot be done, or when nothing runs (any more): `ok` is false and `detail`
   * says why, and what would help; the plan before is in force then. A plan that contradicts itself is `invalid_argument`.
   */
  intercept(id: string, plan: InterceptPlan, progress: Progress): Promise<{ ok: boolean; detail: string }>
  /** What init and supervisor have written, the last `maxBytes` of it. */
  logs(id: string, maxBytes: number): Promise<Buffer>
  /** Calls back for every end. Sandboxes found by `list` are watched too. Returns the function that stops it. */
  watch(listener: ExitListener): () => void
  /**
   * Calls back when the engine under the driver goes away or comes back, while somebody watches and it is needed; first when it is known which.
   * Absent where there is no engine that could. Sandboxes that run go on without it, and the calls that need it are `unavailable`.
   */
  notices?(listener: (notice: DriverNotice) => void): () => void
  /**
   * Changes the limits of a sandbox that runs; nothing for one that does not, because `start` brings its own. Absent where the
   * capability `resize` is false. All of them are changed or none: memory under what is in use (copies of files are given up
   * first), and what the engine or the kernel does not take, is `failed_precondition/limits_refused`, and the limits are those of
   * before. After any other error they may be either, until it is called again. Processes beyond a lower limit of theirs go on;
   * new ones are not made until there are fewer.
   */
  resize?(id: string, limits: Limits, progress: Progress): Promise<void>
  /**
   * The files of a sandbox, running or not, for a checkpoint; absent where the capability `checkpoint` is `none`. What runs is held
   * still until this returns and goes on then: no process, exec or session ends by it. What is saved does not change any more,
   * whatever becomes of the sandbox. When it fails, is aborted or dies with its process, nothing is left and nothing stays held
   * still: in the latter case as soon as another driver object watches.
   */
  saveFiles?(id: string, progress: Progress): Promise<SavedFiles>
  /**
   * Removes images that its engine was given for this home, that no sandbox uses and that are not kept. `keep`: whether the store
   * still has an image of these layers (digests of the unpacked layers, lowest first). Absent where there is no such engine.
   */
  pruneImages?(keep: (diffIds: string[]) => boolean, progress: Progress): Promise<void>
  /** Ends timers and connections. Sandboxes go on. */
  close(): Promise<void>
}
