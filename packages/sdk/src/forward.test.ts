import { once } from 'node:events'
import net, { type AddressInfo, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { CoppiceError } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Coppice } from './coppice.ts'
import type { PortForward } from './forward.ts'
import type { Sandbox } from './sandbox.ts'
import { FakePorts } from './testing/fake-ports.ts'

let gateway: FakePorts
let sandbox: Sandbox
let inside: Server
let insidePort: number
let client: Coppice
/** What the server inside does with a connection. */
let serve: (socket: Socket) => void

beforeEach(async () => {
  gateway = await new FakePorts().start()
  client = new Coppice({ url: gateway.url, token: gateway.token })
  sandbox = client.sandboxes.get('box')
  serve = (socket) => socket.pipe(socket)
  inside = net.createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    serve(socket)
  })
  inside.listen(0, '127.0.0.1')
  await once(inside, 'listening')
  insidePort = (inside.address() as AddressInfo).port
})
afterEach(() => {
  client.close()
  gateway.kill()
  inside.close()
})

function readAll(socket: Duplex): Promise<string> {
  let text = ''
  return new Promise((resolve, reject) => {
    socket.on('data', (chunk) => {
      text += chunk
    })
    socket.once('end', () => resolve(text))
    socket.once('error', reject)
  })
}

function dial(forward: PortForward): Socket {
  const socket = net.connect({ port: forward.port, host: forward.host, allowHalfOpen: true })
  socket.on('error', () => {})
  return socket
}

describe('openPort', () => {
  it('is a connection, half-open, after a call with the token', async () => {
    const socket = await sandbox.openPort(insidePort)
    socket.end('to and fro')
    expect(await readAll(socket)).toBe('to and fro')
    expect(gateway.tunnels[0]?.headers).toMatchObject({ authorization: 'Bearer fake-token', upgrade: 'coppice-tcp' })
  })

  it('fails with what the gateway says', async () => {
    gateway.refusal = new CoppiceError('failed_precondition', 'port_not_listening', 'Nothing there.')
    await expect(sandbox.openPort(insidePort)).rejects.toMatchObject({ reason: 'port_not_listening' })
  })

  it('fails against something that upgrades nothing', async () => {
    const plain = new Coppice({ url: `http://127.0.0.1:${insidePort}`, token: 'x' })
    serve = (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
    await expect(plain.sandboxes.get('box').openPort(1)).rejects.toMatchObject({ reason: 'no_tunnels' })
  })

  it('may be given up while it is made', async () => {
    serve = () => {}
    const plain = new Coppice({ url: `http://127.0.0.1:${insidePort}`, token: 'x' })
    const gone = new AbortController()
    const opening = plain.sandboxes.get('box').openPort(1, { signal: gone.signal })
    await once(inside, 'connection')
    gone.abort()
    await expect(opening).rejects.toMatchObject({ code: 'cancelled' })
  })
})

describe('forward', () => {
  it('leads each connection to the port inside, and ends them all when it is closed', async () => {
    const forward = await sandbox.forward(insidePort)
    expect(forward).toMatchObject({ host: '127.0.0.1', url: `http://127.0.0.1:${forward.port}` })
    const sockets = Array.from({ length: 5 }, () => dial(forward))
    sockets.forEach((socket, at) => void socket.write(`number ${at}`))
    for (const [at, socket] of sockets.entries()) expect(String((await once(socket, 'data'))[0])).toBe(`number ${at}`)
    const ended = sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve)))
    await forward.close()
    await Promise.all(ended)
    await expect(once(net.connect(forward.port, '127.0.0.1'), 'connect')).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    })
  })

  it('keeps the two directions apart: what comes after the last word from here still arrives', async () => {
    serve = (socket) => {
      socket.resume()
      socket.once('end', () => socket.end('and goodbye'))
    }
    await using forward = await sandbox.forward(insidePort)
    const socket = dial(forward)
    socket.end('hello')
    expect(await readAll(socket)).toBe('and goodbye')
  })

  it('resets a connection that cannot be made, says why, and goes on', async () => {
    const errors: CoppiceError[] = []
    await using forward = await sandbox.forward(insidePort, { onError: (error) => errors.push(error) })
    gateway.refusal = new CoppiceError('failed_precondition', 'port_not_listening', 'Nothing there.')
    const refused = dial(forward).resume()
    expect((await once(refused, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
    expect(errors).toMatchObject([{ reason: 'port_not_listening' }])
    const socket = dial(forward)
    socket.end('fine')
    expect(await readAll(socket)).toBe('fine')
  })

  it('passes resets on in both directions', async () => {
    const inner: Socket[] = []
    serve = (socket) => {
      inner.push(socket)
      socket.write('here')
    }
    await using forward = await sandbox.forward(insidePort)
    const [one, other] = [dial(forward), dial(forward)]
    await Promise.all([once(one, 'data'), once(other, 'data')])
    const resets = [one, other].map((socket) => once(socket, 'error'))
    for (const socket of inner.splice(0)) socket.resetAndDestroy()
    expect(await Promise.all(resets)).toMatchObject([[{ code: 'ECONNRESET' }], [{ code: 'ECONNRESET' }]])
    const third = dial(forward)
    await once(third, 'data')
    third.resetAndDestroy()
    const [left] = inner
    expect((await once(left?.resume() as Socket, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
  })

  it('resets what was open when the gateway goes, and serves again when it is back', async () => {
    await using forward = await sandbox.forward(insidePort)
    const socket = dial(forward)
    socket.write('x')
    await once(socket, 'data')
    const reset = once(socket, 'error')
    gateway.kill()
    expect((await reset)[0]).toMatchObject({ code: 'ECONNRESET' })
    const waiting = dial(forward)
    waiting.end('later')
    const answer = readAll(waiting)
    await once(waiting, 'connect')
    await gateway.start()
    expect(await answer).toBe('later')
  })

  it('says what is wrong with a port here', async () => {
    await expect(sandbox.forward(insidePort, { localPort: insidePort })).rejects.toMatchObject({
      reason: 'listen_failed',
      facts: { errno: 'EADDRINUSE' },
      hint: expect.stringContaining('another port'),
    })
  })

  it('does not begin for a sandbox that is not there', async () => {
    gateway.answers.push(new CoppiceError('not_found', 'sandbox_not_found', 'No.'))
    await expect(sandbox.forward(insidePort)).rejects.toMatchObject({ reason: 'sandbox_not_found' })
  })
})
