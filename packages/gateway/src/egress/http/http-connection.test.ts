import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { allow, local, place, plain, raw, world } from '../testing/kit.ts'
import { collect, SANDBOX } from '../testing/place.ts'

describe('other protocols on the plain port', () => {
  it('WebSocket: the server agrees, and the connection is the program’s', async () => {
    const port = await world().http(
      () => {},
      (server) =>
        server.on('upgrade', (request, socket) => {
          socket.write(
            'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: yes\r\n\r\nfirst',
          )
          socket.on('data', (chunk: Buffer) => socket.write(`${request.headers['sec-websocket-key']} ${chunk}`))
          socket.on('end', () => socket.end('bye'))
        }),
    )
    const box = await place({ policy: allow(local(port)) })
    const stream = await plain(box)
    stream.write(
      `GET http://127.0.0.1:${port}/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly`,
    )
    stream.resume()
    let text = ''
    stream.on('data', (chunk: Buffer) => {
      text += chunk
    })
    await expect.poll(() => text).toMatch(/^HTTP\/1\.1 101 [\s\S]*sec-websocket-accept: yes[\s\S]*first[\s\S]*k early/i)
    stream.write('late')
    await expect.poll(() => text).toMatch(/k late$/)
    stream.end()
    await expect.poll(() => text).toMatch(/bye$/)
    await expect.poll(() => box.counts).toMatchObject({ open: 0, connections: 1 })
    expect((await box.records())[0]).toMatchObject({ end: 'closed', port })
  })

  it('WebSocket: the server does not agree, or the policy', async () => {
    const port = await world().http((_request, response) => response.writeHead(426, { 'X-Why': 'no' }).end('not here'))
    const box = await place({ policy: allow(local(port)) })
    const ws = (where: string) =>
      `GET http://${where}/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`
    expect(await raw(box, ws(local(port)))).toMatch(/^HTTP\/1\.1 426 [\s\S]*X-Why: no[\s\S]*not here/)
    expect(await raw(box, ws('evil.example'))).toMatch(/^HTTP\/1\.1 403 [\s\S]*evil\.example:80 is not allowed/)
  })

  it('HTTP/2 that is offered is passed over', async () => {
    const port = await world().http((request, response) => response.end(JSON.stringify(request.headers)))
    const box = await place({ policy: allow(local(port)) })
    const answer = await raw(
      box,
      `GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1\.1 200 /)
    expect(answer).not.toMatch(/h2c|http2/i)
  })

  it('CONNECT on a connection that has served requests is a tunnel from then on, judged like one', async () => {
    const here = world()
    const port = await here.http((_request, response) => response.end('plain'))
    const echo = await here.tcp((socket) => socket.on('data', (chunk) => socket.write(chunk)))
    const box = await place({ policy: allow(local(port), local(echo)) })
    const stream = await plain(box)
    let text = ''
    stream.on('data', (chunk: Buffer) => {
      text += chunk
    })
    stream.resume()
    stream.write(
      `GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\n\r\nCONNECT 127.0.0.1:${echo} HTTP/1.1\r\nHost: y\r\n\r\nhello`,
    )
    await expect.poll(() => text).toMatch(/plain[\s\S]*HTTP\/1\.1 200 Connection established\r\n\r\nhello$/)
    box.egress.change(SANDBOX, allow(local(port)))
    await expect.poll(() => stream.destroyed).toBe(true)
    expect(await raw(box, `CONNECT 127.0.0.1:${echo} HTTP/1.1\r\nHost: y\r\n\r\n`)).toMatch(/^HTTP\/1\.1 403 /)
    expect(await raw(box, 'CONNECT nonsense HTTP/1.1\r\nHost: y\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 /)
  })
})

describe('patience', () => {
  it('ends with heads that do not come', async () => {
    const box = await place({ policy: allow('127.0.0.1'), config: { firstBytesMs: 100 } })
    expect(await raw(box, 'GET http://127.0.0.1/ HTTP/1.1\r\nHost')).toMatch(/^HTTP\/1\.1 408 /)
    expect(await raw(box, '')).toMatch(/^HTTP\/1\.1 408 /)
    await expect.poll(() => box.counts.open).toBe(0)
  })

  it('lasts for a body that is slow, and for a connection between two requests, as long as they are not idle', async () => {
    const port = await world().http((request, response) => request.resume().once('end', () => response.end('ok')))
    const box = await place({ policy: allow(local(port)), config: { firstBytesMs: 100, idleMs: 2_000 } })
    const stream = await plain(box)
    stream.resume()
    stream.write(`POST http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n`)
    for (const letter of 'body') {
      await new Promise((resolve) => setTimeout(resolve, 80))
      stream.write(letter)
    }
    const [answer] = (await once(stream, 'data')) as [Buffer]
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 200 /)
    expect((await collect(stream)).ended).toBe(false)
    await expect.poll(() => box.counts.open).toBe(0)
  })

  it('is short with one that sends far too many requests ahead', async () => {
    const port = await world().http(() => {})
    const box = await place({ policy: allow(local(port)) })
    const stream = await plain(box)
    stream.write(`GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(2000))
    expect((await collect(stream)).ended).toBe(false)
    await expect.poll(() => box.counts.open).toBe(0)
  })
})
