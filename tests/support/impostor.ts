import { readFileSync } from 'node:fs'
import http2, { type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { connect, type Socket } from 'node:net'

interface Identity {
  sandboxId: string
  token: string
}

/**
 * What root inside a sandbox can do to the gateway: take the token, and the place of the supervisor, and answer as it
 * likes.
 */
export class Impostor {
  readonly #socket: Socket

  private constructor(socket: Socket) {
    this.#socket = socket
  }

  /** @param initPid PID of the sandbox's init on the host: the token is read through its root, as root inside would */
  static async replace(
    initPid: number,
    answer: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void,
  ): Promise<Impostor> {
    const folder = `/proc/${initPid}/root/.coppice-run`
    const { sandboxId, token } = JSON.parse(readFileSync(`${folder}/sandbox.json`, 'utf8')) as Identity
    const socket = connect(`${folder}/gw.sock`)
    socket.on('error', () => {})
    const hello = { coppice: 'session', versions: [1], sandboxId, token, bootId: 'impostor', supervisorVersion: '0' }
    socket.write(`${JSON.stringify(hello)}\n`)
    const welcome = await new Promise<Buffer>((resolve) => socket.once('data', resolve))
    const end = welcome.indexOf('\n')
    socket.pause()
    if (end + 1 < welcome.length) socket.unshift(welcome.subarray(end + 1))
    const session = http2.performServerHandshake(socket)
    session.on('error', () => {})
    session.on('stream', (stream, headers) => {
      stream.on('error', () => {})
      answer(stream, headers)
    })
    return new Impostor(socket)
  }

  /** Writes bytes that are no HTTP/2 into the link. */
  garble(): void {
    this.#socket.write(Buffer.alloc(4096, 0xff))
  }

  leave(): void {
    this.#socket.destroy()
  }
}
