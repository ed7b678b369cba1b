import { once } from 'node:events'
import type { ClientHttp2Stream } from 'node:http2'
import { connect, type Socket } from 'node:net'
import type { EgressAsk, EgressRefusal, EgressTell } from '@coppice/protocol/wire'
import { eventually } from './eventually.ts'
import type { TestSandbox } from './sandbox.ts'

type Open = Extract<EgressAsk, { t: 'open' }>

/** The gateway's end of a sandbox's way out: hears what is asked, and does what the test says. */
export class EgressEnd {
  readonly #sandbox: TestSandbox
  readonly control: ClientHttp2Stream
  /** Everything that was asked, in order. */
  readonly asks: EgressAsk[] = []
  readonly #taken = new Set<EgressAsk>()
  /** Called for each question as it comes. */
  onAsk: (ask: EgressAsk) => void = () => {}

  private constructor(sandbox: TestSandbox, control: ClientHttp2Stream) {
    this.#sandbox = sandbox
    this.control = control
    let text = ''
    control.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (text + chunk).split('\n')
      text = lines.pop() ?? ''
      for (const line of lines) {
        const ask = JSON.parse(line) as EgressAsk
        this.asks.push(ask)
        this.onAsk(ask)
      }
    })
  }

  /** Begins to answer, on the session that there is. */
  static async attach(sandbox: TestSandbox): Promise<EgressEnd> {
    const control = await sandbox.open('POST', '/egress')
    const end = new EgressEnd(sandbox, control)
    const [headers] = await once(control, 'response')
    if (headers[':status'] !== 200) throw new Error(`POST /egress: ${headers[':status']}`)
    return end
  }

  tell(tell: EgressTell): void {
    this.control.write(`${JSON.stringify(tell)}\n`)
  }

  refuse(id: number, kind: EgressRefusal['kind'], rule = 'some-rule'): void {
    const error = { kind, rule, message: `It is ${kind}.`, hint: 'coppice network set SANDBOX' }
    this.tell({ t: 'refused', id, error })
  }

  /** The next question of a kind that no earlier call was given. */
  async next<T extends EgressAsk['t']>(t: T): Promise<Extract<EgressAsk, { t: T }>> {
    const ask = await eventually(() => this.asks.find((each) => each.t === t && !this.#taken.has(each)))
    if (ask) this.#taken.add(ask)
    return ask as Extract<EgressAsk, { t: T }>
  }

  /** Brings a connection. The stream is paused. Throws when the supervisor does not want it. */
  async tunnel(id: number): Promise<ClientHttp2Stream> {
    const stream = await this.#sandbox.open('POST', `/egress/${id}`)
    stream.pause()
    const [headers] = await once(stream, 'response')
    if (headers[':status'] !== 200) throw new Error(`POST /egress/${id}: ${headers[':status']}`)
    return stream
  }

  /** Waits for a program's connection and brings it. */
  async accept(): Promise<{ ask: Open; tunnel: ClientHttp2Stream }> {
    const ask = await this.next('open')
    return { ask, tunnel: await this.tunnel(ask.id) }
  }

  /** From now on lets every connection and name through, and gives the connections to `serve`. */
  serve(serve: (tunnel: ClientHttp2Stream, ask: Open) => void): void {
    this.onAsk = (ask) => {
      this.#taken.add(ask)
      if (ask.t === 'name') this.tell({ t: 'name', id: ask.id, outcome: 'exists', message: '' })
      // One whose program has gone meanwhile is refused by the supervisor.
      if (ask.t === 'open')
        void this.tunnel(ask.id).then((tunnel) => {
          serve(tunnel, ask)
          tunnel.resume()
        }, ignore)
    }
  }
}

/** A program's end of a connection, with what came back so far and how it ended. */
export class Program {
  readonly socket: Socket
  #bytes: Buffer[] = []
  /** How it ended: by a FIN, by an error's code, or not yet. */
  end: 'fin' | string | undefined

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => this.#bytes.push(chunk))
    socket.once('end', () => {
      this.end ??= 'fin'
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.end ??= error.code ?? error.message
    })
  }

  static async connect(port: number, host = '127.0.0.1'): Promise<Program> {
    const socket = connect({ port, host, allowHalfOpen: true })
    const program = new Program(socket)
    await once(socket, 'connect').catch((error: NodeJS.ErrnoException) => {
      // One that is reset at once was there all the same.
      if (error.code !== 'ECONNRESET') throw error
    })
    return program
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#bytes)
  }

  get text(): string {
    return this.bytes.toString('latin1')
  }

  send(bytes: string | Buffer): void {
    this.socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
  }

  /** Waits until so many bytes are there, takes them away and gives them. */
  async take(length: number): Promise<Buffer> {
    await eventually(() => this.bytes.length >= length || this.end !== undefined)
    const all = this.bytes
    this.#bytes = [all.subarray(length)]
    return all.subarray(0, length)
  }

  /** Waits for its end. */
  async ended(limitMs?: number): Promise<string> {
    return (await eventually(() => this.end, limitMs)) ?? ''
  }
}

/** Reads a stream to its end; rejects when it is reset instead. */
export async function readAll(stream: ClientHttp2Stream): Promise<Buffer> {
  const chunks: Buffer[] = []
  stream.on('data', (chunk: Buffer) => chunks.push(chunk)).resume()
  await new Promise<void>((resolve, reject) => {
    stream.once('end', resolve)
    stream.once('close', () => reject(new Error(`reset with ${stream.rstCode}`)))
  })
  return Buffer.concat(chunks)
}

const ignore = () => {}
