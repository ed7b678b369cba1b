import { once } from 'node:events'
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  CoppiceError,
  type ExecInfo,
  type ExecResult,
  type ExecSpec,
  encodeFrame,
  encodeJsonFrame,
  FrameType,
  httpStatus,
} from '@coppice/protocol/wire'
import { FakeIntake } from './fake-intake.ts'

/** What one exec of the fake has written, and how it ended. */
export interface FakeExec {
  id: string
  key: string
  spec: ExecSpec
  /** Output in order; `stream` 1 or 2. */
  output: { stream: 1 | 2; bytes: Buffer }[]
  /** Undefined: it runs for ever. */
  result: ExecResult | undefined
  stdin: FakeIntake
}

/** What goes wrong with one answer, or one body. */
export interface Fault {
  /** The connection is reset after so many bytes of the answer's body. */
  cutAfter?: number
  /** Nothing more is sent after so many bytes. */
  stallAfter?: number
  /** Output starts so many bytes before what was asked for. */
  overlap?: number
  /** Output starts so many bytes after what was asked for; with `gap`, a frame says so. */
  skip?: number
  gap?: boolean
  /** The connection is reset after so many bytes of the request's body were taken (not necessarily acknowledged). */
  cutBodyAfter?: number
  /** Of the bytes taken before that cut, so many count only when the next body begins, as when they were still under way. */
  late?: number
  /** Refused with this error. */
  error?: CoppiceError
}

/** A real HTTP server that speaks the frames protocol and breaks as it is told. `faults` are used up in order, one per call. */
export class FakeGateway {
  readonly token = 'fake-token'
  readonly execs = new Map<string, FakeExec>()
  readonly uploads = new Map<string, FakeIntake>()
  readonly files = new Map<string, Buffer>()
  readonly faults: Fault[] = []
  /** `METHOD path` of every request, in order. */
  readonly requests: string[] = []
  /** Connections that were made to it. */
  connections = 0
  /** Decides what a started exec writes. */
  program: (spec: ExecSpec) => Pick<FakeExec, 'output' | 'result'> = () => ({ output: [], result: exited(0, 0, 0) })
  #server = http.createServer()
  #port = 0

  get url(): string {
    return `http://127.0.0.1:${this.#port}`
  }

  async start(): Promise<this> {
    this.#server = http.createServer((request, response) => this.#answer(request, response))
    this.#server.on('connection', () => {
      this.connections += 1
    })
    this.#server.listen(this.#port, '127.0.0.1')
    await once(this.#server, 'listening')
    this.#port = (this.#server.address() as AddressInfo).port
    return this
  }

  /** Ends it with all its connections, as SIGKILL would. `start` brings it back at the same port. */
  async kill(): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://x')
    const path = url.pathname.replace(/^\/v1\/sandboxes\/[^/]+/, '')
    this.requests.push(`${request.method} ${path}`)
    request.on('error', () => {})
    response.on('error', () => {})
    const fault = path.endsWith('/signal') || /^\/(execs|uploads)\/[^/]+$/.test(path) ? {} : (this.faults.shift() ?? {})
    if (request.headers.authorization !== `Bearer ${this.token}`) {
      refuse(response, new CoppiceError('unauthenticated', 'bad_token', 'No.'))
      return
    }
    if (fault.error) {
      refuse(response, fault.error)
      return
    }
    const [, kind, id = '', what] = path.split('/')
    if (kind === 'execs' && id === '') void this.#start(request, response, url, fault)
    else if (kind === 'execs') this.#exec(request, response, url, id, what, fault)
    else if (kind === 'uploads') this.#upload(response, id)
    else if (kind === 'files' && request.method === 'PUT') this.#write(request, response, url, fault)
    else if (kind === 'files') this.#read(request, response, url, fault)
    else refuse(response, new CoppiceError('not_found', 'no_route', path))
  }

  async #start(request: IncomingMessage, response: ServerResponse, url: URL, fault: Fault): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const spec = JSON.parse(Buffer.concat(chunks).toString()) as ExecSpec & { id: string; key: string }
    let exec = [...this.execs.values()].find(({ key }) => key === spec.key)
    if (!exec) {
      exec = {
        id: spec.id,
        key: spec.key,
        spec,
        stdin: new FakeIntake(),
        ...this.program(spec),
      }
      this.execs.set(exec.id, exec)
    }
    this.#follow(response, exec, Number(url.searchParams.get('from')), fault)
  }

  #exec(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    id: string,
    what: string | undefined,
    fault: Fault,
  ): void {
    const exec = this.execs.get(id)
    if (!exec) {
      refuse(response, new CoppiceError('not_found', 'exec_not_found', `No ${id}.`))
      return
    }
    if (what === 'output') {
      this.#follow(response, exec, Number(url.searchParams.get('from')), fault)
      return
    }
    if (what === 'stdin') {
      const offset = Number(url.searchParams.get('offset'))
      exec.stdin.take(request, response, offset, fault, () => {
        response.end(encodeFrame(FrameType.ack, 0, exec.stdin.acknowledged))
      })
      return
    }
    if (what === 'signal') {
      exec.result = { ...exited(0, 0, 0), exitCode: null, signal: 'SIGKILL' }
      response.writeHead(204).end()
      return
    }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(infoOf(exec)))
  }

  #follow(response: ServerResponse, exec: FakeExec, from: number, fault: Fault): void {
    const frames = [encodeJsonFrame(FrameType.started, 0, infoOf(exec))]
    const at = Math.max(0, from - (fault.overlap ?? 0)) + (fault.skip ?? 0)
    if (fault.gap) frames.push(encodeJsonFrame(FrameType.gap, from, { from, to: at, reason: 'evicted' }))
    let offset = 0
    for (const { stream, bytes } of exec.output) {
      if (offset + bytes.length > at) {
        const skipped = Math.max(0, at - offset)
        frames.push(encodeFrame(FrameType.data, stream, offset + skipped, bytes.subarray(skipped)))
      }
      offset += bytes.length
    }
    if (exec.result) frames.push(encodeJsonFrame(FrameType.result, offset, exec.result))
    sendBytes(response, Buffer.concat(frames), fault, exec.result !== undefined)
  }

  #upload(response: ServerResponse, id: string): void {
    const upload = this.uploads.get(id)
    const state = { upload: id, acknowledged: upload?.acknowledged ?? 0, committed: upload?.ended ?? false }
    response.end(JSON.stringify(state))
  }

  #write(request: IncomingMessage, response: ServerResponse, url: URL, fault: Fault): void {
    const id = url.searchParams.get('upload') ?? ''
    const upload = this.uploads.get(id) ?? new FakeIntake()
    this.uploads.set(id, upload)
    upload.take(request, response, Number(url.searchParams.get('offset')), fault, () => {
      this.files.set(url.searchParams.get('path') ?? '', upload.bytes)
      const state = { upload: id, acknowledged: upload.acknowledged, committed: true }
      sendBytes(response, encodeJsonFrame(FrameType.result, upload.acknowledged, state), fault, true)
    })
  }

  #read(request: IncomingMessage, response: ServerResponse, url: URL, fault: Fault): void {
    const content = this.files.get(url.searchParams.get('path') ?? '')
    if (!content) {
      refuse(response, new CoppiceError('not_found', 'file_not_found', 'No file.'))
      return
    }
    const etag = `"${content.length}"`
    if (request.headers['if-match'] !== undefined && request.headers['if-match'] !== etag) {
      refuse(response, new CoppiceError('conflict', 'file_changed', 'It changed.'))
      return
    }
    const body = content.subarray(Number(url.searchParams.get('offset') ?? 0))
    response.writeHead(200, { etag, 'content-length': body.length })
    sendBytes(response, body, fault, true)
  }
}

/** A result as the supervisor would make it. */
export function exited(exitCode: number, stdoutBytes: number, stderrBytes: number): ExecResult {
  return {
    exitCode,
    signal: null,
    timedOut: false,
    oomKilled: false,
    startedAt: 1,
    endedAt: 2,
    stdoutBytes,
    stderrBytes,
  }
}

function infoOf(exec: FakeExec): ExecInfo {
  const { id, key, spec, result } = exec
  const outputEnd = exec.output.reduce((sum, { bytes }) => sum + bytes.length, 0)
  return {
    id,
    key,
    argv: spec.argv ?? ['/bin/sh', '-c', spec.shell ?? ''],
    cwd: '/',
    user: 'root',
    pty: false,
    pid: 2,
    state: result ? 'exited' : 'running',
    startedAt: 1,
    outputStart: 0,
    outputEnd,
    stdinAcknowledged: exec.stdin.acknowledged,
    result: result ?? null,
    error: null,
  }
}

function sendBytes(response: ServerResponse, bytes: Buffer, fault: Fault, end: boolean): void {
  if (fault.cutAfter !== undefined) {
    response.flushHeaders()
    response.write(bytes.subarray(0, fault.cutAfter), () => setImmediate(() => response.socket?.resetAndDestroy()))
  } else if (fault.stallAfter !== undefined) {
    response.flushHeaders()
    response.write(bytes.subarray(0, fault.stallAfter))
  } else if (end) {
    response.end(bytes)
  } else {
    response.write(bytes)
  }
}

function refuse(response: ServerResponse, error: CoppiceError): void {
  response.writeHead(httpStatus(error.code), { 'content-type': 'application/json' })
  response.end(JSON.stringify({ error: error.toBody() }))
}
