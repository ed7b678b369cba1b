import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from 'node:http2'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CONNECTION_WINDOW_BYTES,
  type ExecInfo,
  type ExecResult,
  type Frame,
  FrameDecoder,
  FrameType,
  frameJson,
  type Gap,
  HTTP2_OPTIONS,
  type SupervisorConfig,
  type SupervisorInfo,
} from '@coppice/protocol/wire'
import { eager } from './eager.ts'
import { endProcessesOf } from './end-processes.ts'

export interface SandboxOptions {
  readonly config?: Partial<SupervisorConfig>
  /** A folder with writable cgroups; without it the supervisor uses subreapers. */
  readonly cgroupDir?: string
  readonly stateDir?: string
  readonly nodeFlags?: readonly string[]
  /** A staged runtime bundle to run instead of the sources. */
  readonly bundleDir?: string
  /** The welcome and HTTP/2's first bytes reach the supervisor in one piece. */
  readonly coalesce?: boolean
  /** Words before the supervisor's own: to start it in namespaces of its own. They must end in it, not fork it. */
  readonly wrapper?: readonly string[]
  /** The gateway's end never waits for its writes, as the real one. For bulk both ways at the same time. */
  readonly eager?: boolean
}

/** Everything that came back for one exec. */
export interface ExecAnswer {
  readonly info: ExecInfo
  readonly stdout: string
  readonly stderr: string
  readonly gaps: Gap[]
  readonly result: ExecResult
  readonly error: { reason: string; facts?: Record<string, unknown> } | undefined
}

/** A supervisor as a plain local process, with the gateway's end of its session: just enough of one to ask and to break things. */
export class TestSandbox {
  readonly dir: string
  readonly stateDir: string
  readonly #options: SandboxOptions
  readonly #leaseMs: number
  #server: Server | undefined
  readonly #sockets = new Set<Socket>()
  #session: ClientHttp2Session | undefined
  #onSession: (() => void)[] = []
  process: ChildProcess | undefined
  log = ''
  hellos: Record<string, unknown>[] = []
  #onlyLine: string | undefined

  private constructor(options: SandboxOptions) {
    this.#options = options
    this.dir = mkdtempSync(join(tmpdir(), 'coppice-sup-'))
    this.stateDir = options.stateDir ?? join(this.dir, 'state')
    // Not every exec is root's.
    chmodSync(this.dir, 0o755)
    mkdirSync(join(this.dir, 'run'))
    mkdirSync(join(this.dir, 'runtime'))
    const bundle = {
      busybox: '/bin/busybox',
      tini: '/usr/bin/tini-static',
      'ld.so': '/lib64/ld-linux-x86-64.so.2',
      lib: '/lib/x86_64-linux-gnu',
      setpriv: '/usr/bin/setpriv',
    }
    for (const [name, target] of Object.entries(bundle)) symlinkSync(target, join(this.dir, 'runtime', name))
    const config: SupervisorConfig = {
      sandboxId: 'sb-test',
      token: 'secret',
      leaseMs: 12_000,
      boundMs: 30_000,
      defaults: { env: {}, cwd: '/', user: '' },
      journal: { memoryBytes: 1024 * 1024, diskBytes: 1024 * 1024 * 1024 },
      resultRetentionMs: 600_000,
      network: null,
      drainMs: 250,
      ...options.config,
    }
    writeFileSync(join(this.dir, 'run/sandbox.json'), JSON.stringify(config), { mode: 0o400 })
    this.#leaseMs = config.leaseMs
  }

  static async start(options: SandboxOptions = {}): Promise<TestSandbox> {
    const sandbox = new TestSandbox(options)
    sandbox.spawn()
    await sandbox.session()
    return sandbox
  }

  /** Starts the supervisor, again after `kill`. */
  spawn(): void {
    this.#server ??= createServer((socket) => this.#accept(socket)).listen(join(this.dir, 'run/gw.sock'))
    const { bundleDir, nodeFlags = [], cgroupDir = join(this.dir, 'no-cgroup') } = this.#options
    const runtime = bundleDir ?? join(this.dir, 'runtime')
    const loader = [join(runtime, 'ld.so'), '--library-path', join(runtime, 'lib'), join(runtime, 'coppice-supervisor')]
    const supervisor = bundleDir
      ? [...loader, ...nodeFlags, join(runtime, 'supervisor.mjs')]
      : [process.execPath, ...nodeFlags, join(import.meta.dirname, 'process.ts')]
    const words = [...(this.#options.wrapper ?? []), ...supervisor]
    this.process = spawn(words[0] as string, words.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: process.env.PATH,
        COPPICE_RUNTIME_DIR: runtime,
        COPPICE_RUN_DIR: join(this.dir, 'run'),
        COPPICE_STATE_DIR: this.stateDir,
        COPPICE_CGROUP_DIR: cgroupDir,
      },
    })
    this.process.stderr?.on('data', (chunk) => {
      this.log += chunk
    })
  }

  get pid(): number {
    return this.process?.pid as number
  }

  /** The session, or the next one. */
  async session(): Promise<ClientHttp2Session> {
    while (!this.#session) await new Promise<void>((resolve) => this.#onSession.push(resolve))
    return this.#session
  }

  /** From now on the gateway answers every hello with this line and says nothing more. */
  answerOnly(line: string | undefined): void {
    this.#onlyLine = line
  }

  /** SIGKILLs the supervisor, as an OOM killer would. What it has said and nobody has heard yet is lost with it. */
  async kill(): Promise<void> {
    const supervisor = this.process
    if (supervisor && supervisor.exitCode === null && supervisor.signalCode === null) {
      const exited = once(supervisor, 'exit')
      supervisor.kill('SIGKILL')
      await exited
    }
    this.#server?.close()
    this.#server = undefined
    this.cut()
  }

  /** Cuts the session. The next `session()` waits for the supervisor to come back. */
  cut(): void {
    this.#session = undefined
    for (const socket of this.#sockets) socket.destroy()
  }

  async open(method: string, path: string, headers: OutgoingHttpHeaders = {}): Promise<ClientHttp2Stream> {
    const session = await this.session()
    const bodyless = method === 'GET' || method === 'DELETE'
    const stream = session.request({ ':method': method, ':path': path, ...headers }, { endStream: bodyless })
    stream.on('error', () => {})
    return stream
  }

  async request(
    method: string,
    path: string,
    body?: unknown,
    headers: OutgoingHttpHeaders = {},
  ): Promise<{ status: number; headers: Record<string, unknown>; body: Buffer }> {
    const stream = await this.open(method, path, headers)
    if (method !== 'GET' && method !== 'DELETE') {
      stream.end(body === undefined || Buffer.isBuffer(body) ? body : JSON.stringify(body))
    }
    const chunks: Buffer[] = []
    stream.on('data', (chunk) => chunks.push(chunk))
    const [answer] = await once(stream, 'response')
    if (!stream.readableEnded) await once(stream, 'end')
    return { status: answer[':status'], headers: answer, body: Buffer.concat(chunks) }
  }

  /** JSON of a 2xx answer; throws the error of any other. */
  async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    const answer = await this.request(method, path, body)
    const value = answer.body.length > 0 ? JSON.parse(answer.body.toString()) : undefined
    if (answer.status >= 300)
      throw Object.assign(new Error(value.error.message), { status: answer.status, ...value.error })
    return value as T
  }

  info(): Promise<SupervisorInfo> {
    return this.json('GET', '/info')
  }

  /** Runs a command to its end. */
  async exec(spec: Record<string, unknown>, query = 'follow=1'): Promise<ExecAnswer> {
    return answerOf(await this.frames('POST', `/execs?${query}`, spec))
  }

  /** Every frame of an answer; throws the error of a failed one. */
  async frames(method: string, path: string, body?: unknown): Promise<Frame[]> {
    const { status, body: bytes } = await this.request(method, path, body)
    if (status >= 300)
      throw Object.assign(new Error('request failed'), { status, ...JSON.parse(bytes.toString()).error })
    return new FrameDecoder().push(bytes)
  }

  /** Ends every exec that runs, which `close` alone does not: the supervisor has no time to. */
  async endExecs(): Promise<void> {
    const { execs } = await this.json<{ execs: ExecInfo[] }>('GET', '/execs')
    const running = execs.filter(({ state }) => state === 'running')
    await Promise.allSettled(running.map(({ id }) => this.json('POST', `/execs/${id}/signal`, { signal: 'KILL' })))
  }

  /** With everything that it started, as when the init of a sandbox ends. */
  async close(): Promise<void> {
    await this.kill()
    await endProcessesOf(this.dir)
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 })
  }

  /** What is written while the supervisor stands still is there in one read when it goes on. */
  #coalesce(): void {
    if (!this.#options.coalesce) return
    this.process?.kill('SIGSTOP')
    setTimeout(() => this.process?.kill('SIGCONT'), 100)
  }

  #accept(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => this.#sockets.delete(socket))
    let line = ''
    const take = (chunk: Buffer) => {
      line += chunk.toString()
      if (!line.endsWith('\n')) return
      socket.off('data', take)
      this.hellos.push(JSON.parse(line))
      if (this.#onlyLine !== undefined) {
        socket.write(this.#onlyLine)
        return
      }
      this.#coalesce()
      socket.write(welcome(this.#leaseMs))
      const transport = this.#options.eager ? eager(socket) : socket
      const session = connect('http://sandbox', { createConnection: () => transport, ...HTTP2_OPTIONS })
      session.on('error', () => {})
      session.on('connect', () => {
        // Cut meanwhile.
        if (socket.destroyed) return
        session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
        this.#session = session
        for (const wake of this.#onSession.splice(0)) wake()
      })
      session.on('close', () => {
        if (this.#session === session) this.#session = undefined
      })
    }
    socket.on('data', take)
  }
}

/** The port that the proxy of a sandbox has, as its execs are told. */
export async function proxyPortOf(sandbox: TestSandbox): Promise<number> {
  const { stdout } = await sandbox.exec({ argv: ['sh', '-c', 'echo $http_proxy | sed s/.*://'] })
  const port = Number(stdout)
  if (!(port > 0)) throw new Error(`there is no proxy: ${stdout}`)
  return port
}

export function welcome(leaseMs: number): string {
  return `${JSON.stringify({ ok: true, version: 1, leaseMs })}\n`
}

/** Puts frames together. */
export function answerOf(frames: readonly Frame[]): ExecAnswer {
  const of = (type: number) => frames.filter((frame) => frame.type === type)
  const text = (stream: number) =>
    Buffer.concat(
      of(FrameType.data)
        .filter((frame) => frame.stream === stream)
        .map((frame) => frame.payload),
    ).toString()
  const json = <T>(type: number): T | undefined => {
    const [frame] = of(type)
    return frame && frameJson<T>(frame)
  }
  return {
    info: json<ExecInfo>(FrameType.started) as ExecInfo,
    stdout: text(1),
    stderr: text(2),
    gaps: of(FrameType.gap).map((frame) => frameJson<Gap>(frame)),
    result: json<ExecResult>(FrameType.result) as ExecResult,
    error: json(FrameType.error),
  }
}
