import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ClientHttp2Stream } from 'node:http2'
import type { Connection } from '../connection.ts'
import type { Attachment } from '../control/attachment.ts'
import type { Asked, Outbound } from '../outbound.ts'
import type { Judge } from '../policy/judge.ts'
import type { SandboxEgress } from '../sandbox.ts'
import { resetStream, startDuplex } from '../session-link.ts'
import { cutSocket } from '../tunnel/cut-socket.ts'
import { Join } from '../tunnel/join.ts'
import { linger } from '../tunnel/linger.ts'
import { Stillness } from '../tunnel/stillness.ts'
import { answerBytes, badRequest, sendAnswer } from './answer.ts'
import { ClientPlace } from './client-place.ts'
import type { Served } from './engine.ts'
import { exchange } from './exchange.ts'
import { passRaw } from './pour-message.ts'
import { StreamSocket } from './stream-socket.ts'
import { type Switched, switchByUpgrade, switchToTunnel } from './switch-protocol.ts'

/** Requests that may wait behind the one that is under way. Browsers and tools send none ahead. */
const MAX_PIPELINED = 16

/** A connection on which programs send plain requests to the proxy: each is judged and sent on by itself. */
export class HttpConnection implements Connection, Served {
  readonly #place: ClientPlace
  readonly #sandbox: SandboxEgress
  readonly #from: Attachment
  readonly #id: number
  readonly #gone = new AbortController()
  readonly #stream: ClientHttp2Stream | undefined
  #socket: StreamSocket | undefined
  #join: Join | undefined
  /** Of CONNECT; all other connections are the agent's. */
  #tunnel: Outbound | undefined
  #last: Promise<void> = Promise.resolve()
  /** The request that came when no other was under way. */
  #first: { request: IncomingMessage; response: ServerResponse } | undefined
  #waiting = 0
  /** The last answer was said: what comes now is thrown away. */
  #closing = false
  /** A head is awaited since then, as `performance.now()`; undefined: none has begun. */
  #headSince: number | undefined = performance.now()
  readonly #stillness = new Stillness()
  #over = false

  constructor(sandbox: SandboxEgress, from: Attachment, id: number, exec: string | null) {
    this.#sandbox = sandbox
    this.#from = from
    this.#id = id
    this.#place = new ClientPlace(sandbox, from, exec, this.#gone.signal)
    sandbox.connections.add(this)
    const stream = startDuplex(from.link, `/egress/${id}`)
    this.#stream = stream
    if (!stream) {
      queueMicrotask(() => this.cut('session_lost'))
      return
    }
    const onGone = () => this.cut('reset')
    stream.once('close', onGone)
    stream.once('response', (headers) => {
      stream.off('close', onGone)
      if (headers[':status'] === 200) this.#serve(stream)
      else this.cut('cancelled')
    })
  }

  cut(end: string): void {
    if (this.#over || (this.#socket && end === 'cancelled')) return
    const join = this.#join
    this.#finish(end)
    join?.cut(end)
    if (this.#stream) resetStream(this.#stream)
    this.#socket?.destroy()
  }

  rejudge(judge: Judge): void {
    this.#place.agent.rejudge(judge)
    if (this.#tunnel && !this.#tunnel.judged(judge).ok) this.cut('policy')
  }

  sweep(now: number): void {
    const { firstBytesMs, idleMs } = this.#sandbox.shared.limits
    if (this.#join) {
      this.#join.sweep(now)
      return
    }
    const stillMs = this.#stillness.of((this.#socket?.bytesRead ?? 0) + this.#place.agent.bytes, now)
    if (this.#headSince !== undefined && now - this.#headSince > firstBytesMs) this.#tooSlow()
    else if (stillMs > idleMs) this.cut('idle')
  }

  request(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    this.#headSince = undefined
    if (this.#closing) return
    if (this.#over || this.#waiting > MAX_PIPELINED) {
      this.cut('limit')
      return
    }
    if (this.#waiting === 0) this.#first = { request, response }
    this.#waiting += 1
    this.#last = this.#last.then(async () => {
      await exchange(this.#place, request, response, expectsContinue)
      this.#waiting -= 1
    })
  }

  upgrade(request: IncomingMessage, head: Buffer): void {
    this.#switch(head, () => switchByUpgrade(this.#place, request, this.#gone.signal))
  }

  connect(request: IncomingMessage, head: Buffer): void {
    const reach = (asked: Asked) => this.#sandbox.reach(asked, 'tunnel', this.#gone.signal)
    this.#switch(head, () => switchToTunnel(this.#place, request, reach))
  }

  malformed(error: NodeJS.ErrnoException): void {
    if (this.#closing) return
    if (this.#over || error.code === 'ECONNRESET') {
      this.cut('reset')
      return
    }
    this.#place.refusedUnread('malformed_request')
    const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : 400
    const answer = { ...badRequest(`The request could not be read (${error.code ?? 'unknown'}).`), status }
    const first = this.#waiting === 1 ? this.#first : undefined
    if (!first || first.response.headersSent) {
      this.#lastAnswer(answer)
      return
    }
    // Its head was fine and its body is not.
    this.#closing = true
    sendAnswer(first.request, first.response, answer)
    this.#lingerOn()
  }

  #serve(stream: ClientHttp2Stream): void {
    if (this.#over) return
    const socket = new StreamSocket(stream, this.#from.link)
    this.#socket = socket
    socket.on('error', () => {})
    socket.once('close', () => this.#finish('closed'))
    stream.on('data', () => {
      if (this.#waiting === 0 && !this.#closing) this.#headSince ??= performance.now()
    })
    this.#sandbox.shared.engine.serve(socket, this)
  }

  /** The connection leaves HTTP, if all goes well, once what came before it has its answers. */
  #switch(head: Buffer, start: () => Promise<Switched>): void {
    this.#headSince = undefined
    this.#waiting += 1
    this.#last = this.#last.then(async () => {
      const switched = this.#over ? undefined : await start()
      const socket = this.#socket
      if (!switched || !socket || this.#over) {
        if (switched?.is === 'socket') this.#drop(switched)
        return
      }
      this.#waiting -= 1
      if (switched.is === 'answer') {
        this.#lastAnswer(switched.answer)
      } else if (switched.is === 'response') {
        passRaw(switched.response, socket)
      } else {
        if (head.length > 0) socket.unshift(head)
        socket.write(switched.head)
        this.#tunnel = switched.outbound
        this.#join = this.#joinWith(socket, switched)
      }
    })
  }

  #joinWith(socket: StreamSocket, { socket: outside, name }: Switched & { is: 'socket' }): Join {
    outside.allowHalfOpen = true
    return new Join(socket.inside, outside, {
      name,
      ahead: this.#sandbox.ahead,
      valve: this.#from.valve,
      limits: this.#sandbox.shared.limits,
      onEnd: (end, refused) => this.#finish(end, refused?.rule),
    })
  }

  #drop({ socket, outbound }: Switched & { is: 'socket' }): void {
    cutSocket(socket)
    if (outbound) this.#sandbox.ended(outbound, 'cancelled')
  }

  #tooSlow(): void {
    this.#place.refusedUnread('first_bytes')
    this.#lastAnswer({ status: 408, rule: 'first_bytes', text: 'The request did not arrive in time.\n' })
  }

  /** Says one last thing, if nothing else is being said, and closes. */
  #lastAnswer(answer: { status: number; rule: string; text: string }): void {
    const socket = this.#socket
    // What is said now would be taken for the answer to a request before.
    if (!socket?.writable || this.#waiting > 0) {
      this.cut('reset')
      return
    }
    this.#closing = true
    socket.end(answerBytes(answer))
    this.#lingerOn()
  }

  #lingerOn(): void {
    this.#headSince = undefined
    const socket = this.#socket
    if (!socket) return
    socket.removeAllListeners('data').resume()
    linger(socket, () => this.cut('closed'))
  }

  #finish(end: string, deniedBy?: string): void {
    if (this.#over) return
    this.#over = true
    this.#gone.abort()
    if (this.#tunnel) this.#sandbox.ended(this.#tunnel, end, deniedBy)
    this.#place.agent.cut(end)
    this.#from.forget(this.#id, this)
    this.#sandbox.connections.delete(this)
  }
}
