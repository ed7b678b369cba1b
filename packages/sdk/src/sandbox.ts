import type { Duplex } from 'node:stream'
import {
  type CheckpointInfo,
  CoppiceError,
  type ExecInfo,
  type ListeningPort,
  newKey,
  type Preview,
  type ResizeSandbox,
  type ResourceUse,
  type SandboxInfo,
  type SandboxInspection,
  type SupervisorInfo,
} from '@coppice/protocol/wire'
import type { CheckpointOptions } from './checkpoints.ts'
import type { GatewayConnection } from './connection.ts'
import { type Coppice, defaultClient } from './coppice.ts'
import { Exec, execPath } from './exec.ts'
import { type Command, execSpec, type SpawnOptions } from './exec-options.ts'
import { SandboxFiles } from './files.ts'
import { type ForwardOptions, PortForward } from './forward.ts'
import { readWhole } from './http.ts'
import { SandboxNetwork } from './network.ts'
import type { ExecOutcome } from './outcome.ts'
import { query } from './paths.ts'
import { openPort } from './port.ts'
import { type ExecOptions, runToEnd } from './run-to-end.ts'
import type { CreateOptions, ListOptions } from './sandboxes.ts'
import { spawnExec } from './spawn.ts'
import { unsupported } from './unsupported.ts'

/** Most of a log that is read at once, bytes. */
const MAX_LOG_BYTES = 64 * 1024 * 1024

/** What to create, and by which client; without one, by the one that the environment names. */
export interface SandboxOptions extends CreateOptions {
  client?: Coppice | undefined
}

/** An isolated machine-like place. A handle only: the sandbox lives whether or not anybody holds one. */
export class Sandbox {
  /** Its id, or the name it was asked for by. */
  readonly id: string
  readonly files: SandboxFiles
  /** What it may reach outside, and what it did reach. */
  readonly network: SandboxNetwork
  readonly #connection: GatewayConnection
  readonly #path: string

  /** Use `Sandbox.create`, `Sandbox.connect` or a `Coppice` client. */
  constructor(connection: GatewayConnection, id: string) {
    this.id = id
    this.#connection = connection
    this.#path = `/v1/sandboxes/${encodeURIComponent(id)}`
    this.files = new SandboxFiles(connection, this.#path)
    this.network = new SandboxNetwork(connection, this.#path)
  }

  /** Creates a sandbox and starts it. */
  static create(options: SandboxOptions = {}): Promise<Sandbox> {
    const { client = defaultClient(), ...rest } = options
    return client.sandboxes.create(rest)
  }

  /** Finds a sandbox by id or name. */
  static connect(idOrName: string, options: { client?: Coppice } = {}): Promise<Sandbox> {
    return (options.client ?? defaultClient()).sandboxes.connect(idOrName)
  }

  static list(options: ListOptions & { client?: Coppice } = {}): Promise<SandboxInfo[]> {
    const { client = defaultClient(), ...rest } = options
    return client.sandboxes.list(rest)
  }

  /**
   * Runs a command to its end. Any exit status is a value; a command that did not run to its end is an exception with facts
   * `{execId, offset}`. Survives broken connections and a gateway that is started again within the bound.
   */
  exec(command: Command, options: ExecOptions = {}): Promise<ExecOutcome> {
    return runToEnd(this.#connection, this.#path, command, options)
  }

  /** Starts a command and resolves when it has started. @throws typed: `not_found/program_not_found`, `cwd_not_found`, … */
  spawn(command: Command, options: SpawnOptions = {}): Promise<Exec> {
    return spawnExec(this.#connection, this.#path, execSpec(command, options), options)
  }

  /** Starts a command and lets go of it at once. Returns what is known of it; `attach` finds it again. */
  detached(command: Command, options: SpawnOptions = {}): Promise<ExecInfo> {
    const json = execSpec(command, options)
    return this.#connection.json(
      { method: 'POST', path: `${this.#path}/execs?detach=1`, json, signal: options.signal },
      true,
    )
  }

  /** Follows an exec that is running or whose result is still kept. `from`: first journal offset wanted, default 0. */
  async attach(execId: string, options: { from?: number; boundMs?: number; signal?: AbortSignal } = {}): Promise<Exec> {
    const info = await this.inspectExec(execId)
    const exec = new Exec(this.#connection, {
      id: info.id,
      key: info.key,
      from: options.from ?? 0,
      start: undefined,
      sandboxPath: this.#path,
      block: false,
      stdinAt: info.stdinAcknowledged,
      boundMs: options.boundMs,
      signal: options.signal,
    })
    await exec.started
    return exec
  }

  /** One exec. @throws `not_found/exec_not_found`. */
  inspectExec(execId: string): Promise<ExecInfo> {
    return this.#connection.json({ method: 'GET', path: execPath(this.#path, execId) }, true)
  }

  /** Running execs, and ended ones whose result is kept. */
  async execs(): Promise<ExecInfo[]> {
    const { execs } = await this.#connection.json<{ execs: ExecInfo[] }>(
      { method: 'GET', path: `${this.#path}/execs` },
      true,
    )
    return execs
  }

  /** Signals an exec. Every descendant with `tree`, and always for `KILL`. Default `TERM`. */
  async kill(execId: string, signal = 'TERM', options: { tree?: boolean } = {}): Promise<void> {
    const json = { signal, tree: options.tree === true }
    await this.#connection.json({ method: 'POST', path: `${execPath(this.#path, execId)}/signal`, json }, false)
  }

  /** The supervisor itself. */
  supervisor(): Promise<SupervisorInfo> {
    return this.#connection.json({ method: 'GET', path: `${this.#path}/info` }, true)
  }

  inspect(): Promise<SandboxInspection> {
    return this.#connection.json({ method: 'GET', path: this.#path }, true)
  }

  /** Resource use now. */
  stats(): Promise<ResourceUse> {
    return this.#connection.json({ method: 'GET', path: `${this.#path}/stats` }, true)
  }

  /** What listens inside, on any address. */
  async ports(options: { signal?: AbortSignal } = {}): Promise<ListeningPort[]> {
    const request = { method: 'GET' as const, path: `${this.#path}/ports`, signal: options.signal }
    return (await this.#connection.json<{ ports: ListeningPort[] }>(request, true)).ports
  }

  /**
   * Makes a port of the sandbox reachable on this machine, until it is closed: every connection to it is one to the port inside.
   * A connection that cannot be made is reset. @throws `not_found/sandbox_not_found`, `unavailable/listen_failed`
   */
  async forward(port: number, options: ForwardOptions = {}): Promise<PortForward> {
    await this.inspect()
    return PortForward.listen((signal) => this.openPort(port, { signal }), options)
  }

  /** A connection to a port of the sandbox, half-open as TCP is. @throws `failed_precondition/port_not_listening`, … */
  openPort(port: number, options: { signal?: AbortSignal } = {}): Promise<Duplex> {
    return openPort(this.#connection, this.#path, port, options.signal)
  }

  /**
   * The address under which a browser on the gateway's machine sees a port: with a token in it unless the port is public. `public`
   * makes it so, or takes that back.
   */
  preview(port: number, options: { public?: boolean | undefined } = {}): Promise<Preview> {
    const json = options.public === undefined ? {} : { public: options.public }
    return this.#connection.json({ method: 'PUT', path: `${this.#path}/ports/${port}/preview`, json }, true)
  }

  /** What init and supervisor have written, the last `bytes` of it. */
  logs(options: { bytes?: number } = {}): Promise<string> {
    const request = { method: 'GET' as const, path: `${this.#path}/logs${query({ bytes: options.bytes })}` }
    return this.#connection.retrying(undefined, true, async () => {
      return (await readWhole(await this.#connection.send(request), MAX_LOG_BYTES)).toString('utf8')
    })
  }

  /** Ends all processes, keeps the files. `graceMs`: between TERM and KILL, default 10,000. */
  stop(options: { graceMs?: number } = {}): Promise<SandboxInfo> {
    const answerMs = LIFECYCLE_ANSWER_MS + (options.graceMs ?? 0)
    return this.#connection.json({ method: 'POST', path: `${this.#path}/stop`, json: options, answerMs }, true)
  }

  /** Starts a stopped sandbox again, with the files it had. */
  start(): Promise<SandboxInfo> {
    return this.#connection.json({ method: 'POST', path: `${this.#path}/start`, answerMs: LIFECYCLE_ANSWER_MS }, true)
  }

  /**
   * Changes limits: at once where it runs, else at its next start; what is absent stays as it is. All or nothing: memory under what
   * is in use is `failed_precondition/limits_refused`. @throws `unsupported/resize` where its driver cannot
   */
  resize(limits: ResizeSandbox): Promise<SandboxInfo> {
    const request = { method: 'POST' as const, path: `${this.#path}/resize`, json: limits }
    return this.#connection.json({ ...request, answerMs: LIFECYCLE_ANSWER_MS }, true)
  }

  /** Ends the sandbox and deletes its files. Its end record is kept for seven days. */
  remove(): Promise<SandboxInfo> {
    return this.#connection.json({ method: 'DELETE', path: this.#path, answerMs: LIFECYCLE_ANSWER_MS }, true)
  }

  /** @throws `unsupported/fork`: not in this release. */
  async fork(_count = 1): Promise<Sandbox[]> {
    throw unsupported('fork', 'Forking a sandbox')
  }

  /**
   * Saves its files, as they are at one instant; it may run or be stopped. Sandboxes are made from that by `image`. Aborted by
   * `signal` it leaves nothing. @throws `unsupported/checkpoint`, `already_exists/name_taken`
   */
  checkpoint(options: CheckpointOptions = {}): Promise<CheckpointInfo> {
    const { name, key = newKey(), signal } = options
    const request = { method: 'POST' as const, path: `${this.#path}/checkpoints`, json: { name, key }, signal }
    return this.#connection.json({ ...request, answerMs: 0 }, true)
  }

  /** @throws `unsupported/restore`: not in this release. */
  async restore(_checkpoint: string): Promise<void> {
    throw unsupported('restore', 'Restoring a checkpoint')
  }

  /** Removes the sandbox at the end of an `await using` block. One that is gone already is no error. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.remove()
    } catch (error) {
      if (!(error instanceof CoppiceError) || error.code !== 'not_found') throw error
    }
  }
}

/** Removing and stopping wait for processes and mounts. */
const LIFECYCLE_ANSWER_MS = 120_000
