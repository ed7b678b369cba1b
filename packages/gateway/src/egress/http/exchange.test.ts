import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type IncomingMessage, request as startRequest } from 'node:http'
import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { allow, ask, local, names, place, plain, raw, read, world } from '../testing/kit.ts'
import { collect, SANDBOX } from '../testing/place.ts'

describe('a plain request', () => {
  it('is made anew: Host from its address, nothing of the hop, everything else as it was', async () => {
    const seen: IncomingMessage[] = []
    const port = await world().http((request, response) => {
      seen.push(request)
      response.setHeader('Set-Cookie', ['a=1', 'b=2'])
      response.setHeader('Connection', 'X-Hop')
      response.setHeader('X-Hop', 'secret')
      response.setHeader('Proxy-Authenticate', 'Basic')
      response.end(`hello ${request.url}`)
    })
    const box = await place({ policy: allow(local(port)) })
    const got = await ask(await plain(box), `http://127.0.0.1:${port}/a%20b/../c?d=é&e`.replace('é', '%C3%A9'), {
      headers: {
        'proxy-authorization': `Basic ${Buffer.from('ex-0123456789abcdef:x').toString('base64')}`,
        'Proxy-Connection': 'keep-alive',
        'Proxy-Foo': 'x',
        connection: 'keep-alive, X-Mine',
        'X-Mine': 'hop',
        TE: 'trailers',
        'Keep-Alive': 'timeout=5',
        'X-Kept': 'Yes',
        authorization: 'Bearer token',
      },
    })
    expect(got).toMatchObject({ status: 200, body: 'hello /a%20b/../c?d=%C3%A9&e' })
    expect(got.headers['set-cookie']).toEqual(['a=1', 'b=2'])
    expect(got.headers).not.toHaveProperty('x-hop')
    expect(got.headers).not.toHaveProperty('proxy-authenticate')
    const { headers } = seen[0] as IncomingMessage
    expect(headers).toEqual({
      host: `127.0.0.1:${port}`,
      'x-kept': 'Yes',
      authorization: 'Bearer token',
      connection: 'keep-alive',
    })
    expect((await box.records())[0]).toMatchObject({
      via: 'http',
      exec: 'ex-0123456789abcdef',
      port,
      verdict: 'allowed',
    })
  })

  it('streams bodies both ways, with and without a length, and their trailers', async () => {
    const body = randomBytes(3_000_000).toString('base64')
    const port = await world().http(async (request, response) => {
      const { body: heard, trailers } = await read(request)
      response.setHeader('Trailer', 'X-Sum')
      response.setHeader('X-Framing', `${request.headers['content-length']} ${request.headers['transfer-encoding']}`)
      response.write(heard)
      response.addTrailers({ 'X-Sum': `${heard.length} ${trailers['x-req'] ?? 'none'}${trailers.authorization ?? ''}` })
      response.end()
    })
    const box = await place({ policy: allow(local(port)) })
    const url = `http://127.0.0.1:${port}/`
    const sized = await ask(
      await plain(box),
      url,
      { method: 'POST', headers: { 'content-length': `${body.length}` } },
      body,
    )
    expect(sized.body === body).toBe(true)
    expect(sized.headers['x-framing']).toBe(`${body.length} undefined`)
    expect(sized.trailers['x-sum']).toBe(`${body.length} none`)
    const stream = await plain(box)
    const request = startRequest({
      createConnection: () => stream as unknown as Socket,
      path: url,
      method: 'PUT',
      headers: { 'transfer-encoding': 'chunked' },
    })
    request.write('chunk one, ')
    request.write('chunk two')
    request.addTrailers({ 'X-Req': 'kept', Authorization: 'mine' })
    request.end()
    stream.resume()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const chunked = await read(response)
    expect(chunked).toMatchObject({ body: 'chunk one, chunk two', trailers: { 'x-sum': '20 kept' } })
    expect(chunked.headers['x-framing']).toBe('undefined chunked')
    const empty = await ask(await plain(box), url, { method: 'POST', headers: { 'content-length': '0' } })
    expect(empty.headers['x-framing']).toBe('0 undefined')
  })

  it('keeps connections alive on both sides, and judges each request on them by itself', async () => {
    const here = world()
    let connections = 0
    const port = await here.http(
      (request, response) => response.end(request.headers.host),
      (server) => server.on('connection', () => (connections += 1)),
    )
    const dns = await names({ 'one.example': ['127.0.0.1'], 'two.example': ['127.0.0.1'] })
    const box = await place({
      policy: allow(`one.example:${port}`, `two.example:${port}`, local(port)),
      config: { resolvers: [dns.address] },
    })
    const stream = await plain(box)
    const get = (host: string) => `GET http://${host}:${port}/ HTTP/1.1\r\nHost: x\r\n\r\n`
    stream.write(get('one.example') + get('one.example') + get('evil.example') + get('two.example'))
    stream.write(`${get('one.example').replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')}`)
    const answers = (await collect(stream)).bytes.toString()
    stream.end()
    expect(answers.match(/HTTP\/1\.1 (\d+)/g)).toEqual([200, 200, 403, 200, 200].map((status) => `HTTP/1.1 ${status}`))
    expect(answers).toContain('X-Coppice-Rule: not_listed')
    expect(answers).toContain('coppice network set box --allow evil.example:')
    expect(connections).toBe(2)
    expect(dns.asked).not.toContain('evil.example')
    await expect.poll(() => box.counts).toMatchObject({ open: 0, connections: 2, denied: 1 })
    await expect.poll(() => here.open).toBe(0)
  })

  it('obeys a policy that changes between two requests on one connection, and cuts one that is under way', async () => {
    const port = await world().http((request, response) => {
      response.write('part')
      if (request.url === '/whole') response.end()
    })
    const box = await place({ policy: allow(local(port)) })
    const stream = await plain(box)
    stream.write(`GET http://127.0.0.1:${port}/whole HTTP/1.1\r\nHost: x\r\n\r\n`)
    stream.resume()
    await once(stream, 'data')
    box.egress.change(SANDBOX, { mode: 'none', allow: [] })
    stream.write(`GET http://127.0.0.1:${port}/whole HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    expect((await collect(stream)).bytes.toString()).toMatch(/^HTTP\/1\.1 403 /)
    stream.end()

    box.egress.change(SANDBOX, allow(local(port)))
    const under = await plain(box)
    under.write(`GET http://127.0.0.1:${port}/part HTTP/1.1\r\nHost: x\r\n\r\n`)
    under.resume()
    await once(under, 'data')
    box.egress.change(SANDBOX, { mode: 'none', allow: [] })
    expect((await collect(under)).ended).toBe(false)
    await expect.poll(async () => (await box.records()).map(({ end }) => end)).toContain('policy')
  })

  it('answers HEAD, 204 and 304 without a body and keeps the connection', async () => {
    const port = await world().http((request, response) => {
      if (request.url === '/304') response.writeHead(304, { etag: '"x"' }).end()
      else if (request.url === '/204') response.writeHead(204).end()
      else
        response
          .writeHead(200, { 'content-length': 1234 })
          .end(request.method === 'HEAD' ? undefined : 'x'.repeat(1234))
    })
    const box = await place({ policy: allow(local(port)) })
    const stream = await plain(box)
    const head = (method: string, path: string, more = '') =>
      stream.write(`${method} http://127.0.0.1:${port}${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`)
    head('HEAD', '/')
    head('GET', '/304')
    head('GET', '/204')
    head('GET', '/', 'Connection: close\r\n')
    const text = (await collect(stream)).bytes.toString()
    stream.end()
    const parts = text.split(/(?=HTTP\/1\.1 )/)
    expect(parts.map((part) => part.slice(0, 12))).toEqual([
      'HTTP/1.1 200',
      'HTTP/1.1 304',
      'HTTP/1.1 204',
      'HTTP/1.1 200',
    ])
    expect(parts[0]).toMatch(/content-length: 1234\r\n[\s\S]*\r\n\r\n$/i)
    expect(parts[1]).toMatch(/\r\n\r\n$/)
    expect(parts[2]).toMatch(/\r\n\r\n$/)
    expect(parts[3]?.endsWith('x'.repeat(1234))).toBe(true)
  })

  it('passes 1xx on: continue when it is expected, early hints', async () => {
    const port = await world().http(
      (_request, response) => {
        response.writeEarlyHints({ link: '</a.css>; rel=preload' })
        response.end('done')
      },
      (server) =>
        server.on('checkContinue', (request, response) => {
          response.writeContinue()
          request.resume().once('end', () => response.end('took it'))
        }),
    )
    const box = await place({ policy: allow(local(port)) })
    expect(await raw(box, `GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 103 [^\r]*\r\nlink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200 /i,
    )
    const stream = await plain(box)
    stream.write(
      `POST http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n`,
    )
    stream.resume()
    const [first] = (await once(stream, 'data')) as [Buffer]
    expect(first.toString()).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    stream.write('body')
    expect((await collect(stream)).bytes.toString()).toMatch(/took it/)
    stream.end()
  })

  it('serves HTTP/1.0 clients: no chunks, the end of the connection is the end', async () => {
    const port = await world().http((_request, response) => {
      response.write('one ')
      response.end('two')
    })
    const box = await place({ policy: allow(local(port)) })
    const answer = await raw(box, `GET http://127.0.0.1:${port}/ HTTP/1.0\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(answer).not.toMatch(/chunked/i)
    expect(answer.endsWith('\r\n\r\none two')).toBe(true)
  })

  it('serves a client that ends its side after the request', async () => {
    const port = await world().http((_request, response) => setImmediate(() => response.end('all of it')))
    const box = await place({ policy: allow(local(port)) })
    const stream = await plain(box)
    stream.end(`GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\n\r\n`)
    const { bytes, ended } = await collect(stream)
    expect(bytes.toString()).toContain('all of it')
    expect(ended).toBe(true)
  })

  it('is never answered with a part that looks whole', async () => {
    const cutting = (head: string) => (socket: Socket) =>
      socket.once('data', () => socket.write(`${head}part`, () => setImmediate(() => socket.destroy())))
    const here = world()
    const sized = await here.tcp(cutting('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n'))
    const chunked = await here.tcp(cutting('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n'))
    const box = await place({ policy: allow(local(sized), local(chunked)) })
    for (const port of [sized, chunked]) {
      const stream = await plain(box)
      stream.write(`GET http://127.0.0.1:${port}/ HTTP/1.0\r\n\r\n`)
      const { bytes, ended } = await collect(stream)
      expect(bytes.toString()).toContain('part')
      expect(ended).toBe(false)
    }
  })

  it('is not sent on when the program goes away, and its connection outside is ended', async () => {
    const here = world()
    let aborted = 0
    const port = await here.http((request, response) => {
      response.write('part')
      response.once('close', () => (aborted += 1))
      request.resume()
    })
    const box = await place({ policy: allow(local(port)) })
    const stream = await plain(box)
    stream.write(`POST http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome`)
    stream.resume()
    await once(stream, 'data')
    stream.close(8)
    await expect.poll(() => aborted).toBe(1)
    await expect.poll(() => box.counts.open).toBe(0)
  })

  it('is tried once more when a kept-alive connection was closed in that moment', async () => {
    let connections = 0
    const port = await world().tcp((socket) => {
      connections += 1
      let served = 0
      socket.on('data', () => {
        served += 1
        // The second request on a connection is met by a close, as by a server whose patience ends just then.
        if (served === 2) socket.resetAndDestroy()
        else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      })
    })
    const box = await place({ policy: allow(local(port)) })
    const get = (more = '') => `GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\n${more}\r\n`
    const answer = await raw(box, get() + get('Connection: close\r\n'))
    expect(answer.match(/HTTP\/1\.1 200/g)).toHaveLength(2)
    expect(connections).toBe(2)
  })

  it('says in a body what went wrong outside', async () => {
    const gone = world()
    const port = await gone.tcp(() => {})
    gone.close()
    const here = world()
    const silent = await here.tcp((socket) => socket.once('data', () => socket.destroy()))
    const nonsense = await here.tcp((socket) => socket.once('data', () => socket.end('220 smtp\r\n')))
    const box = await place({ policy: allow(local(port), local(silent), local(nonsense), '10.0.0.1') })
    const get = async (where: number) =>
      raw(box, `GET http://127.0.0.1:${where}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    expect(await get(port)).toMatch(/^HTTP\/1\.1 502 [\s\S]*nothing listens there/)
    expect(await get(silent)).toMatch(/^HTTP\/1\.1 502 [\s\S]*closed the connection without an answer/)
    expect(await get(nonsense)).toMatch(/^HTTP\/1\.1 502 [\s\S]*was not HTTP/)
  })

  it('ends one whose server sends informational answers without end', async () => {
    const hints = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'
    let over: Promise<unknown> | undefined
    const port = await world().tcp((socket) => {
      over = new Promise((resolve) => socket.once('close', resolve))
      socket.on('error', () => {})
      const pour = () => {
        while (!socket.destroyed && socket.write(hints.repeat(100)));
      }
      socket.on('drain', pour).once('data', pour)
    })
    const box = await place({ policy: allow(local(port)) })
    const got = await raw(box, `GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    expect(got.match(/HTTP\/1\.1 103/g)?.length).toBeLessThanOrEqual(16)
    expect(got).toMatch(/HTTP\/1\.1 502 /)
    await over
  })
})
