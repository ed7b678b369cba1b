import { once } from 'node:events'
import http from 'node:http'
import net, { type Socket } from 'node:net'
import tls, { type TLSSocket } from 'node:tls'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PreviewAccess } from './access.ts'
import { CERTIFICATE } from './testing/certificate.ts'
import { BOX, FrontServer, SECRET } from './testing/front-server.ts'
import { readAll, readUntil } from './testing/raw-client.ts'

let front: FrontServer
beforeEach(async () => {
  front = await new FrontServer({ tls: true, names: ['127.0.0.1', 'gateway.example'] }).start()
})
afterEach(() => {
  front.close()
  expect(front.faults).toEqual([])
})

/** A TLS connection, and what lies below it. */
function dial(): { client: TLSSocket; below: Socket } {
  const below = front.raw()
  const client = tls.connect({ socket: below, ca: CERTIFICATE.cert, servername: 'gateway.example' })
  client.on('error', () => {})
  return { client, below }
}

async function tunnel() {
  const { promise, resolve } = Promise.withResolvers<Socket>()
  const port = await front.inside(net.createServer({ allowHalfOpen: true }, resolve))
  const { client, below } = dial()
  client.write(
    `GET /v1/sandboxes/${BOX}/ports/${port}/connect HTTP/1.1\r\nHost: gateway.example\r\n` +
      `Authorization: Bearer ${SECRET}\r\nConnection: Upgrade\r\nUpgrade: coppice-tcp\r\n\r\n`,
  )
  expect(await readUntil(client, '\r\n\r\n')).toMatch(/^HTTP\/1.1 101 /)
  return { client, below, inner: await promise }
}

describe('from another machine, with TLS,', () => {
  it('a raw connection is half open when one side has said its last', async () => {
    const { client, inner } = await tunnel()
    client.end('all I have')
    expect(await readAll(inner)).toBe('all I have')
    const answer = readAll(client)
    inner.end('goodbye')
    expect(await answer).toBe('goodbye')
  })

  it('a reset inside is a reset outside, never an end', async () => {
    const { client, inner } = await tunnel()
    inner.write('some')
    expect(await readUntil(client, 'some')).toBe('some')
    client.resume()
    inner.resetAndDestroy()
    expect((await once(client, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
  })

  it('a reset outside is a reset inside', async () => {
    const { client, below, inner } = await tunnel()
    client.write('some')
    await readUntil(inner, 'some')
    below.resetAndDestroy()
    expect((await once(inner.resume(), 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
  })

  it("previews are below the gateway's name, their cookies only for TLS", async () => {
    const port = await front.inside(
      http.createServer((request, response) => response.end(request.headers['x-forwarded-proto'])),
    )
    const token = new PreviewAccess(SECRET).token(BOX)
    const ask = (path: string, header: string) => {
      const { client } = dial()
      client.write(
        `GET ${path} HTTP/1.1\r\nHost: ${port}-${BOX}.gateway.example:7443\r\nConnection: close\r\n${header}\r\n\r\n`,
      )
      return readAll(client)
    }
    const redirected = await ask(`/?coppice-token=${token}`, 'Accept: text/html')
    expect(redirected).toMatch(/^HTTP\/1.1 303 .*HttpOnly; SameSite=Lax; Secure\r\n/s)
    expect(await ask('/', `Cookie: coppice-token=${token}`)).toMatch(/^HTTP\/1.1 200 .*https$/s)
  })

  it('an address is told for the name by which the gateway was called', async () => {
    const asked = { headers: { host: 'gateway.example:7443' }, socket: { encrypted: true, localPort: 7443 } }
    const target = { id: BOX, name: null, publicPorts: [80] }
    expect(front.inbound.previewUrl(target, 80, asked as never)).toBe(`https://80-${BOX}.gateway.example:7443/`)
    const local = { headers: { host: '127.0.0.1:4000' }, socket: { localPort: 4000 } }
    expect(front.inbound.previewUrl(target, 80, local as never)).toBe(`http://80-${BOX}.localhost:${front.port}/`)
  })
})
