import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import net, { type Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { BOX, FrontServer, SECRET } from './testing/front-server.ts'
import { readAll, readUntil } from './testing/raw-client.ts'

const MiB = 1024 * 1024

let front: FrontServer
beforeEach(async () => {
  front = await new FrontServer().start()
})
afterEach(() => {
  front.close()
  expect(front.faults).toEqual([])
})

const good = {
  host: 'localhost',
  authorization: `Bearer ${SECRET}`,
  connection: 'Upgrade',
  upgrade: 'coppice-tcp',
} as const

function ask(path: string, headers: Record<string, string> = good): Socket {
  const socket = front.raw()
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.write(`GET ${path} HTTP/1.1\r\n${lines.join('')}\r\n`)
  return socket
}

const connectPath = (port: number | string, sandbox = BOX) => `/v1/sandboxes/${sandbox}/ports/${port}/connect`

/** A tunnel to a server inside, and the server's end of it. */
async function tunnel(): Promise<{ client: Socket; inner: Socket }> {
  const { promise, resolve } = Promise.withResolvers<Socket>()
  const port = await front.inside(net.createServer({ allowHalfOpen: true }, resolve))
  const client = ask(connectPath(port))
  expect(await readUntil(client, '\r\n\r\n')).toBe(
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: coppice-tcp\r\n\r\n',
  )
  const inner = await promise
  inner.on('error', () => {})
  return { client, inner }
}

const sha = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex')

describe('a raw connection to a port', () => {
  it('carries every byte both ways at once', async () => {
    const { client, inner } = await tunnel()
    const out = randomBytes(16 * MiB)
    const back = randomBytes(16 * MiB)
    const received = readAll(client)
    const arrived = readAll(inner)
    client.end(out)
    inner.end(back)
    expect(sha(Buffer.from(await arrived, 'latin1'))).toBe(sha(out))
    expect(sha(Buffer.from(await received, 'latin1'))).toBe(sha(back))
  })

  it('is half open when one side has said its last', async () => {
    const { client, inner } = await tunnel()
    client.end('all I have')
    expect(await readAll(inner)).toBe('all I have')
    const answer = readAll(client)
    inner.write('and ')
    inner.end('goodbye')
    expect(await answer).toBe('and goodbye')
  })

  it('passes a reset from outside on', async () => {
    const { client, inner } = await tunnel()
    client.resetAndDestroy()
    expect((await once(inner, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
  })

  it('passes a reset from inside on', async () => {
    const { client, inner } = await tunnel()
    client.resume()
    inner.resetAndDestroy()
    expect((await once(client, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
  })

  it('is reset when the session breaks, never just ended', async () => {
    const { client, inner } = await tunnel()
    inner.write('some')
    expect(await readUntil(client, 'some')).toBe('some')
    client.resume()
    front.box.cut()
    expect((await once(client, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
  })

  it('takes what the client sent with its request', async () => {
    const port = await front.inside(net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)))
    const socket = front.raw()
    const lines = Object.entries(good).map(([name, value]) => `${name}: ${value}\r\n`)
    socket.end(`GET ${connectPath(port)} HTTP/1.1\r\n${lines.join('')}\r\nearly`)
    expect(await readAll(socket)).toMatch(/\r\n\r\nearly$/)
  })

  it('holds a sender back while the other side does not read', async () => {
    const { client, inner } = await tunnel()
    inner.pause()
    let sent = 0
    const more = () => {
      while (client.write(Buffer.alloc(MiB))) sent += 1
      client.once('drain', more)
    }
    more()
    for (let time = 0; time < 20; time += 1) {
      const other = await tunnel()
      other.client.destroy()
    }
    expect(sent).toBeLessThan(32)
  })

  it('finds a sandbox by its name', async () => {
    const port = await front.inside(net.createServer((socket) => socket.end('hello')))
    expect(await readAll(ask(connectPath(port, 'box')))).toMatch(/^HTTP\/1.1 101 .*hello$/s)
  })
})

describe('a raw connection that cannot be made', () => {
  it('is refused with an ordinary error', async () => {
    const server = net.createServer()
    const port = await front.inside(server)
    server.close()
    const answer = await readAll(ask(connectPath(port)))
    expect(answer).toMatch(/^HTTP\/1.1 412 .*Connection: close.*"reason":"port_not_listening"/is)
    expect(await readAll(ask(connectPath(port, 'nobody')))).toMatch(/^HTTP\/1.1 404 .*sandbox_not_found/s)
  })

  it.each([
    ['no token', { authorization: '' }, 401],
    ['a wrong token', { authorization: 'Bearer wrong' }, 401],
    ['a page of another origin', { origin: 'https://evil.example' }, 403],
    ['a page of a sandbox', { origin: `http://80-${BOX}.localhost` }, 403],
    ['a foreign host', { host: 'evil.example' }, 403],
  ])('because of %s never reaches the sandbox', async (_what, headers, status) => {
    const port = await front.inside(net.createServer())
    const answer = await readAll(ask(connectPath(port), { ...good, ...headers }))
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    expect({ dialled: front.box.dialled, api: front.api.length }).toEqual({ dialled: 0, api: 0 })
  })

  it.each([
    connectPath(0),
    connectPath(65_536),
    connectPath('080'),
    connectPath('80x'),
    connectPath(80, 'a/b'),
    connectPath(80, '%zz'),
    `${connectPath(80)}/more`,
    `/x/..${connectPath(80)}`,
  ])('because %s is no such thing is for the API to answer', async (path) => {
    expect(await readAll(ask(path, { ...good, connection: 'Upgrade, close' }))).toMatch(/api$/)
    expect(front.box.dialled).toBe(0)
  })

  it.each(['h2c', 'websocket', 'coppice-tcp2'])('because it asks for %s is an ordinary call', async (upgrade) => {
    const headers = { ...good, upgrade, connection: 'Upgrade, close' }
    expect(await readAll(ask(connectPath(80), headers))).toMatch(/api$/)
  })
})
