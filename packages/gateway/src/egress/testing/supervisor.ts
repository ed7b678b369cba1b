import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type EgressAsk, type EgressTell, HTTP2_OPTIONS } from '@coppice/protocol'
import { Link } from '../../session/link.ts'

/** A connection as a program inside has it, made by a supervisor that does as it is told. */
export interface Tunnel {
  /** From outside arrive `data` events, writes go outside. Paused. */
  stream: ServerHttp2Stream
}

type Told = Extract<EgressTell, { t: 'refused' | 'name' }>

/** The supervisor's end of a real session over a unix socket, written for tests: honest unless told otherwise. */
export class ForgedSupervisor {
  readonly link: Link
  readonly session: ServerHttp2Session
  readonly tells: EgressTell[] = []
  /** Status of the answer to `POST /egress`. */
  controlStatus = 200
  /** Takes a tunnel; undefined: it is answered with 200 and given to who asked. */
  onTunnel: ((id: number, stream: ServerHttp2Stream) => void) | undefined
  control: ServerHttp2Stream | undefined
  controls = 0
  readonly #socket: Socket
  readonly #dir: string
  readonly #waiting = new Map<number, (outcome: Tunnel | Told) => void>()
  #onControl: (() => void)[] = []
  #onTell: (() => void)[] = []
  #lastId = 0

  private constructor(link: Link, session: ServerHttp2Session, socket: Socket, dir: string) {
    this.link = link
    this.session = session
    this.#socket = socket
    this.#dir = dir
    session.on('error', () => {})
    session.on('stream', (stream, headers) => this.#onStream(stream, String(headers[':path'])))
  }

  static async start(): Promise<ForgedSupervisor> {
    const dir = mkdtempSync(join(tmpdir(), 'coppice-egress-'))
    const path = join(dir, 's.sock')
    const server = createServer()
    server.listen(path)
    await once(server, 'listening')
    const inside = connect(path)
    inside.on('error', () => {})
    const [outside] = (await once(server, 'connection')) as [Socket]
    server.close()
    outside.on('error', () => {})
    const session = performServerHandshake(inside, HTTP2_OPTIONS)
    const link = await Link.open(outside, 'boot', 60_000)
    return new ForgedSupervisor(link, session, inside, dir)
  }

  /** Resolves when the gateway has opened the control stream and it was answered. */
  async attached(): Promise<void> {
    while (!this.control) await new Promise<void>((resolve) => this.#onControl.push(resolve))
  }

  /** Resolves with the first tell that passes, among those that came and those that will. */
  async told(passes: (tell: EgressTell) => boolean): Promise<EgressTell> {
    for (;;) {
      const found = this.tells.find(passes)
      if (found) return found
      await new Promise<void>((resolve) => this.#onTell.push(resolve))
    }
  }

  /** Asks for a connection as an honest supervisor does. Resolves with the tunnel or with what it was refused for. */
  open(ask: Partial<Extract<EgressAsk, { t: 'open' }>>): Promise<Tunnel | Told> {
    const id = ask.id ?? ++this.#lastId
    const outcome = new Promise<Tunnel | Told>((resolve) => this.#waiting.set(id, resolve))
    this.send({ t: 'open', via: 'connect', host: '', port: 0, exec: null, ...ask, id })
    return outcome
  }

  /** Like `open`; an error when it was refused. */
  async tunnel(ask: Partial<Extract<EgressAsk, { t: 'open' }>>): Promise<ServerHttp2Stream> {
    const outcome = await this.open(ask)
    if ('stream' in outcome) return outcome.stream
    throw new Error(JSON.stringify(outcome))
  }

  /** Like `open`; an error when it was reached. */
  async refusal(ask: Partial<Extract<EgressAsk, { t: 'open' }>>) {
    const outcome = await this.open(ask)
    if ('stream' in outcome || outcome.t !== 'refused') throw new Error('it was reached')
    return outcome.error
  }

  async name(name: string): Promise<Extract<EgressTell, { t: 'name' }>> {
    const id = ++this.#lastId
    const outcome = new Promise<Tunnel | Told>((resolve) => this.#waiting.set(id, resolve))
    this.send({ t: 'name', id, name })
    const told = await outcome
    if ('stream' in told || told.t !== 'name') throw new Error('no answer to a name')
    return told
  }

  send(ask: EgressAsk | Record<string, unknown>): void {
    this.raw(`${JSON.stringify(ask)}\n`)
  }

  raw(bytes: string | Buffer): void {
    this.control?.write(bytes)
  }

  /** The connection between supervisor and gateway breaks. */
  breakOff(): void {
    this.#socket.destroy()
  }

  async close(): Promise<void> {
    this.session.destroy()
    this.#socket.destroy()
    this.link.cut()
    await this.link.closed
    rmSync(this.#dir, { recursive: true, force: true })
  }

  #onStream(stream: ServerHttp2Stream, path: string): void {
    stream.pause()
    stream.on('error', () => {})
    if (path === '/egress') {
      this.#onControlStream(stream)
      return
    }
    const id = Number(path.split('/')[2])
    if (this.onTunnel) {
      this.onTunnel(id, stream)
      return
    }
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (!waiting) {
      stream.respond({ ':status': 404 }, { endStream: true })
      return
    }
    stream.respond({ ':status': 200 })
    waiting({ stream })
  }

  #onControlStream(stream: ServerHttp2Stream): void {
    this.controls += 1
    stream.respond({ ':status': this.controlStatus }, { endStream: this.controlStatus !== 200 })
    let held = ''
    stream.on('data', (chunk: Buffer) => {
      held += chunk.toString()
      const lines = held.split('\n')
      held = lines.pop() ?? ''
      for (const line of lines) this.#take(JSON.parse(line) as EgressTell)
    })
    stream.resume()
    this.control = stream
    for (const resolve of this.#onControl.splice(0)) resolve()
  }

  #take(tell: EgressTell): void {
    this.tells.push(tell)
    for (const resolve of this.#onTell.splice(0)) resolve()
    if (tell.t === 'network') return
    const waiting = this.#waiting.get(tell.id)
    this.#waiting.delete(tell.id)
    waiting?.(tell)
  }
}
