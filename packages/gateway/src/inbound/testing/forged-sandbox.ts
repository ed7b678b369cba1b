import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import http2, { type ServerHttp2Stream } from 'node:http2'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CoppiceError, HTTP2_OPTIONS, httpStatus } from '@coppice/protocol'
import { Link } from '../../session/link.ts'

const CANCEL = http2.constants.NGHTTP2_CANCEL

/**
 * The end of a session that is in a sandbox, as far as ports are concerned: `POST /ports/:port` leads to that port of this
 * machine's loopback. The session is a real one, over a unix socket.
 */
export class ForgedSandbox {
  readonly #folder = mkdtempSync(join(tmpdir(), 'coppice-inbound-'))
  readonly #sockets = new Set<Socket>()
  #server: Server | undefined
  #link: Link | undefined
  #linking: Promise<Link> | undefined
  /** Connections that were made into the sandbox. */
  dialled = 0
  /** Answers in place of a connection. */
  answer: ((stream: ServerHttp2Stream) => void) | undefined

  /** The session; a new one when the last was cut. */
  async link(): Promise<Link> {
    if (this.#link?.alive) return this.#link
    this.#linking ??= this.#newLink().finally(() => {
      this.#linking = undefined
    })
    return this.#linking
  }

  async #newLink(): Promise<Link> {
    const path = join(this.#folder, 'gw.sock')
    if (!this.#server) {
      this.#server = createServer()
      this.#server.listen(path)
      await once(this.#server, 'listening')
    }
    const accepted = once(this.#server, 'connection') as Promise<[Socket]>
    this.#supervise(connect(path))
    const [socket] = await accepted
    this.#link = await Link.open(socket, 'boot', 12_000)
    return this.#link
  }

  /** Breaks the session with everything on it. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
    this.#sockets.clear()
  }

  close(): void {
    this.#link?.cut()
    this.cut()
    this.#server?.close()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #supervise(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    const session = http2.performServerHandshake(socket, HTTP2_OPTIONS)
    session.on('error', () => {})
    session.on('stream', (stream, headers) => {
      stream.on('error', () => {})
      stream.pause()
      const port = /^\/ports\/(\d+)$/.exec(String(headers[':path']))?.[1]
      if (this.answer) this.answer(stream)
      else if (headers[':method'] === 'POST' && port) this.#lead(stream, Number(port))
      else stream.close(CANCEL)
    })
  }

  #lead(stream: ServerHttp2Stream, port: number): void {
    this.dialled += 1
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.once('error', () => {
      if (!stream.headersSent && !stream.destroyed)
        refuse(stream, new CoppiceError('failed_precondition', 'port_not_listening', `Nothing on ${port}.`))
    })
    socket.once('connect', () => {
      if (stream.destroyed) {
        socket.destroy()
        return
      }
      stream.respond({ ':status': 200 })
      join2(stream, socket)
    })
  }
}

function refuse(stream: ServerHttp2Stream, error: CoppiceError): void {
  stream.respond({ ':status': httpStatus(error.code), 'content-type': 'application/json' })
  stream.end(JSON.stringify({ error: error.toBody() }))
}

function join2(stream: ServerHttp2Stream, socket: Socket): void {
  socket.on('data', (chunk) => {
    if (!stream.write(chunk)) socket.pause()
  })
  stream.on('drain', () => socket.resume())
  socket.once('end', () => stream.end())
  socket.on('error', (error) => stream.destroy(error))
  stream.on('data', (chunk) => {
    if (!socket.write(chunk)) stream.pause()
  })
  socket.on('drain', () => stream.resume())
  stream.once('end', () => {
    if (stream.rstCode === 0) socket.end()
  })
  stream.once('close', () => {
    if (stream.rstCode !== 0) socket.resetAndDestroy()
    else socket.destroySoon()
  })
  stream.resume()
}
