import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import http2 from 'node:http2'
import net from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { GRPC_SERVER_OPTIONS, serveGrpc } from './grpc-server.ts'
import { writeField } from './protobuf.ts'
import { type FindLogin, sessionServices } from './session-services.ts'

const HEALTH = '/grpc.health.v1.Health/Check'
const CREDENTIALS = '/moby.filesync.v1.Auth/Credentials'
const SECRET = '/moby.buildkit.secrets.v1.Secrets/GetSecret'

/** As an engine sends it: not packed, four bytes of length, the message. */
const framed = (message: Uint8Array): Buffer => {
  const prefix = Buffer.alloc(5)
  prefix.writeUInt32BE(message.length, 1)
  return Buffer.concat([prefix, message])
}

describe('calls by gRPC', () => {
  let dir: string
  let server: net.Server
  let client: http2.ClientHttp2Session
  let findLogin: FindLogin
  const secrets = new Map([
    ['large', Buffer.alloc(500 * 1024, 7)],
    ['empty', Buffer.alloc(0)],
  ])

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'coppice-grpc-'))
    server = net.createServer((socket) => {
      const session = http2.performServerHandshake(socket, GRPC_SERVER_OPTIONS)
      session.on('error', () => {})
      serveGrpc(
        session,
        sessionServices((host, signal) => findLogin(host, signal), secrets),
      )
    })
    server.listen(join(dir, 's'))
    await once(server, 'listening')
    client = http2.connect('http://engine', { createConnection: () => net.connect(join(dir, 's')) })
  })
  afterEach(() => {
    client.destroy()
    server.close()
    rmSync(dir, { recursive: true, force: true })
  })

  const call = async (path: string, bytes: Buffer) => {
    const headers = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' }
    const stream = client.request(headers)
    let trailers: http2.IncomingHttpHeaders = {}
    let status: string | undefined
    stream.on('response', (answer) => {
      status = answer['grpc-status'] as string | undefined
    })
    stream.on('trailers', (told) => {
      trailers = told
    })
    stream.on('error', () => {})
    stream.end(bytes)
    const parts: Buffer[] = []
    stream.on('data', (chunk) => parts.push(chunk))
    await once(stream, 'close')
    return { status: status ?? trailers['grpc-status'], body: Buffer.concat(parts).toString('hex') }
  }

  test('an engine that asks whether the other side is well is told so', async () => {
    // As Docker 20.10 sends it and takes the answer.
    expect(await call(HEALTH, Buffer.from('0000000000', 'hex'))).toEqual({ status: '0', body: '00000000020801' })
  })

  test('who asks a registry is answered for each host; nobody is an empty name', async () => {
    findLogin = async (host) => (host === 'r.example:5000' ? { username: 'me', secret: 'word' } : undefined)
    const ask = (host: string) => call(CREDENTIALS, framed(writeField(1, host)))
    const login = Buffer.concat([writeField(1, 'me'), writeField(2, 'word')])
    expect(await ask('r.example:5000')).toEqual({ status: '0', body: framed(login).toString('hex') })
    expect(await ask('other')).toEqual({ status: '0', body: '00000000040a001200' })
  })

  test('a secret is given by its id; one that is not there is told as that, so that a step may do without', async () => {
    const ask = (id: string) => call(SECRET, framed(writeField(1, id)))
    const large = framed(writeField(1, secrets.get('large') as Buffer))
    expect(await ask('large')).toEqual({ status: '0', body: large.toString('hex') })
    expect(await ask('empty')).toEqual({ status: '0', body: '00000000020a00' })
    expect((await ask('other')).status).toBe('5')
    expect((await ask('')).status).toBe('5')
  })

  test('what is not there, not whole, packed, too long or no message is refused, each as that', async () => {
    findLogin = async () => undefined
    expect((await call('/moby.filesync.v1.FileSync/DiffCopy', framed(Buffer.alloc(0)))).status).toBe('12')
    expect((await call('/', framed(Buffer.alloc(0)))).status).toBe('12')
    expect((await call(HEALTH, Buffer.from('00', 'hex'))).status).toBe('3')
    expect((await call(HEALTH, Buffer.from('0000000009aa', 'hex'))).status).toBe('3')
    expect((await call(HEALTH, Buffer.from('0100000000', 'hex'))).status).toBe('12')
    expect((await call(HEALTH, framed(Buffer.alloc(1024 * 1024)))).status).toBe('8')
    expect((await call(CREDENTIALS, framed(Buffer.from('0b', 'hex')))).status).toBe('3')
    expect((await call(HEALTH, framed(Buffer.alloc(0)))).status).toBe('0')
  })

  test('a method that fails is a failure of that call, in its words', async () => {
    findLogin = async () => {
      throw new Error('the helper is not there – ✗\n')
    }
    expect((await call(CREDENTIALS, framed(writeField(1, 'x')))).status).toBe('2')
    expect((await call(HEALTH, framed(Buffer.alloc(0)))).status).toBe('0')
  })

  test('a caller that goes away in the middle of its message, or before its answer, ends nothing but its call', async () => {
    const asked = Promise.withResolvers<AbortSignal>()
    findLogin = (_host, signal) => {
      asked.resolve(signal)
      return new Promise(() => {})
    }
    const half = client.request({ ':method': 'POST', ':path': HEALTH })
    half.on('error', () => {})
    half.write(Buffer.from('0000', 'hex'))
    half.close(http2.constants.NGHTTP2_CANCEL)
    const waiting = client.request({ ':method': 'POST', ':path': CREDENTIALS })
    waiting.on('error', () => {})
    waiting.end(framed(writeField(1, 'x')))
    const signal = await asked.promise
    waiting.close(http2.constants.NGHTTP2_CANCEL)
    await once(signal, 'abort')
    expect((await call(HEALTH, framed(Buffer.alloc(0)))).status).toBe('0')
  })
})
