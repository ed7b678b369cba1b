import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PreviewAccess } from './access.ts'
import { BOX, FrontServer, OTHER, SECRET } from './testing/front-server.ts'
import { readAll, readUntil } from './testing/raw-client.ts'

const token = new PreviewAccess(SECRET).token(BOX)

let front: FrontServer
beforeEach(async () => {
  front = await new FrontServer().start()
})
afterEach(() => {
  front.close()
  expect(front.faults).toEqual([])
})

/** A server inside that agrees to speak another protocol, and what it was asked. */
async function chat() {
  const { promise, resolve } = Promise.withResolvers<{ request: IncomingMessage; socket: Duplex }>()
  const server = http.createServer((_request, response) => response.end('plain'))
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    socket.write('HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhi')
    socket.unshift(head)
    socket.on('error', () => {})
    resolve({ request, socket })
  })
  const port = await front.inside(server)
  return { host: `${port}-${BOX}.localhost`, upgraded: promise }
}

function ask(host: string, headers: string[] = [`X-Coppice-Token: ${token}`], path = '/socket', behind = ''): Socket {
  const socket = front.raw()
  const lines = ['Connection: keep-alive, Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Key: k', ...headers]
  socket.write(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${lines.join('\r\n')}\r\n\r\n${behind}`)
  return socket
}

describe('a WebSocket into a sandbox', () => {
  it('is the connection of both from then on, from the first byte', async () => {
    const { host, upgraded } = await chat()
    const client = ask(host, undefined, '/socket?room=1', 'early')
    expect(await readUntil(client, 'hi')).toBe(
      'HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhi',
    )
    const { request, socket } = await upgraded
    expect(request.url).toBe('/socket?room=1')
    expect(request.headers).toMatchObject({ connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'k' })
    expect(request.headers['x-coppice-token']).toBeUndefined()
    expect(await readUntil(socket, 'early')).toBe('early')
    socket.write('from inside')
    expect(await readUntil(client, 'inside')).toBe('from inside')
    client.end('bye')
    expect(await readAll(socket)).toBe('bye')
  })

  it('takes its token from the address too, for browsers follow no redirect here, and does not pass it on', async () => {
    const { host, upgraded } = await chat()
    ask(host, [], `/socket?coppice-token=${token}`)
    expect((await upgraded).request.url).toBe('/socket')
  })

  it('takes its token from the cookie', async () => {
    const { host, upgraded } = await chat()
    ask(host, [`Cookie: a=1; coppice-token=${token}`])
    expect((await upgraded).request.headers.cookie).toBe('a=1')
  })

  it('without token, or with that of another sandbox, never reaches it', async () => {
    const { host } = await chat()
    const wrong = new PreviewAccess(SECRET).token(OTHER)
    for (const headers of [[], [`X-Coppice-Token: ${wrong}`], [`Cookie: coppice-token=${wrong}`]])
      expect(await readAll(ask(host, headers))).toMatch(/^HTTP\/1.1 401 .*Connection: close.*bad_preview_token/is)
    expect(front.box.dialled).toBe(0)
  })

  it('that the server inside refuses ends with its answer', async () => {
    const port = await front.inside(
      http.createServer((_request, response) => response.writeHead(403, { 'x-why': 'no' }).end('never')),
    )
    const answer = await readAll(ask(`${port}-${BOX}.localhost`))
    expect(answer).toMatch(/^HTTP\/1.1 403 Forbidden\r\nx-why: no\r\n.*Connection: close\r\n.*never/s)
  })

  it('to a port where nothing listens is a 502', async () => {
    const server = http.createServer()
    const port = await front.inside(server)
    server.close()
    expect(await readAll(ask(`${port}-${BOX}.localhost`))).toMatch(/^HTTP\/1.1 502 .*port_not_listening/s)
  })

  it('is reset when the session breaks', async () => {
    const { host } = await chat()
    const client = ask(host)
    await readUntil(client, 'hi')
    client.resume()
    front.box.cut()
    expect((await once(client, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
  })

  it('ends inside when its client goes away', async () => {
    const { host, upgraded } = await chat()
    const client = ask(host)
    await readUntil(client, 'hi')
    const { socket } = await upgraded
    client.resetAndDestroy()
    expect((await once(socket.resume(), 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
  })

  it('asked for with a body is an ordinary request', async () => {
    const { host } = await chat()
    const headers = [`X-Coppice-Token: ${token}`, 'Content-Length: 5', 'Connection: close']
    expect(await readAll(ask(host, headers, '/', 'smugg'))).toMatch(/^HTTP\/1.1 200 OK.*plain/s)
  })
})
