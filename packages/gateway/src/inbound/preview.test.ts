import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http, { type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import net from 'node:net'
import { CoppiceError } from '@coppice/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PreviewAccess } from './access.ts'
import { BOX, FrontServer, OTHER, SECRET } from './testing/front-server.ts'
import { type Ask, ask, readAll, readUntil } from './testing/raw-client.ts'

const access = new PreviewAccess(SECRET)
const token = ['X-Coppice-Token', access.token(BOX)]
const MiB = 1024 * 1024

let front: FrontServer
beforeEach(async () => {
  front = await new FrontServer().start()
})
afterEach(() => {
  front.close()
  expect(front.faults).toEqual([])
})

/** A server inside, and the host under which it is shown. */
async function inside(listener: RequestListener): Promise<{ port: number; host: string }> {
  const port = await front.inside(http.createServer({ keepAliveTimeout: 60_000 }, listener))
  return { port, host: `${port}-${BOX}.localhost:${front.port}` }
}

const get = (host: string, options: Partial<Ask> = {}) =>
  ask({ port: front.port, host, headers: [...token, ...(options.headers ?? [])], ...withoutHeaders(options) })
const withoutHeaders = ({ headers: _, ...rest }: Partial<Ask>) => rest

/** What a server inside was asked. */
function echo(request: IncomingMessage, response: ServerResponse): void {
  const { method, url, rawHeaders } = request
  response.end(JSON.stringify({ method, url, rawHeaders }))
}

describe('a request', () => {
  it('arrives as it was sent, without what is meant for the gateway, and says where it comes from', async () => {
    const { host } = await inside(echo)
    const answer = await get(host, {
      path: `/a%2Fb//c?x=%20&coppice-token=${token[1]}&y`,
      headers: [
        'X-MiXed',
        'One',
        'x-mixed',
        'two',
        'Cookie',
        `a=1; coppice-token=${token[1]}; b=2`,
        'Connection',
        'keep-alive, X-Private',
        'X-Private',
        'gone',
        'Keep-Alive',
        'timeout=1',
        'TE',
        'trailers',
        'X-Forwarded-For',
        '6.6.6.6',
        'x-forwarded-PROTO',
        'gopher',
        'Forwarded',
        'for=6.6.6.6',
        'Authorization',
        'Bearer of-the-app',
      ],
    })
    const { url, rawHeaders } = JSON.parse(answer.text)
    expect(url).toBe('/a%2Fb//c?x=%20&y')
    expect(rawHeaders).toEqual([
      'Host',
      host,
      'X-MiXed',
      'One',
      'x-mixed',
      'two',
      'Cookie',
      'a=1; b=2',
      'Authorization',
      'Bearer of-the-app',
      'X-Forwarded-For',
      '127.0.0.1',
      'X-Forwarded-Host',
      host,
      'X-Forwarded-Proto',
      'http',
      'Connection',
      'keep-alive',
    ])
  })

  it("leaves the gateway's own token outside when a client sends it by mistake", async () => {
    const { host } = await inside(echo)
    const { text } = await get(host, { headers: ['Authorization', `Bearer ${SECRET}`] })
    expect(text).not.toContain(SECRET)
    expect(text).not.toContain('uthorization')
  })

  it.each(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'M-SEARCH', 'QUERY'])(
    'may be %s, with nothing made up',
    async (method) => {
      const seen: IncomingMessage[] = []
      const { host } = await inside((request, response) => {
        seen.push(request)
        response.setHeader('content-length', 2)
        response.end(method === 'HEAD' ? undefined : 'ok')
      })
      const socket = front.raw()
      socket.write(`${method} / HTTP/1.1\r\nHost: ${host}\r\n${token.join(': ')}\r\nConnection: close\r\n\r\n`)
      const answer = await readAll(socket)
      expect(answer).toMatch(/^HTTP\/1.1 200 OK\r\ncontent-length: 2\r\n/)
      expect(answer.endsWith('\r\n\r\nok')).toBe(method !== 'HEAD')
      expect(seen[0]?.method).toBe(method)
      expect(seen[0]?.headers['transfer-encoding']).toBeUndefined()
    },
  )

  it('carries large bodies both ways, with length and in chunks', async () => {
    const { host } = await inside((request, response) => {
      response.writeHead(
        200,
        request.headers['content-length'] ? { 'content-length': request.headers['content-length'] } : {},
      )
      request.pipe(response)
    })
    const body = randomBytes(24 * MiB)
    const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
    const sized = await get(host, { method: 'POST', body, headers: ['Content-Length', String(body.length)] })
    expect(sized.headers['content-length']).toBe(String(body.length))
    const chunked = await get(host, { method: 'POST', body, headers: ['Transfer-Encoding', 'chunked'] })
    expect(chunked.headers['transfer-encoding']).toBe('chunked')
    expect([digest(sized.body), digest(chunked.body)]).toEqual([digest(body), digest(body)])
  })

  it('passes trailers on both ways', async () => {
    const { host } = await inside((request, response) => {
      response.writeHead(200, { trailer: 'X-Sum', 'transfer-encoding': 'chunked' })
      request.resume()
      request.on('end', () => {
        response.write('body')
        response.addTrailers([['X-Sum', JSON.stringify(request.rawTrailers)]] as never)
        response.end()
      })
    })
    const socket = front.raw()
    socket.write(
      `POST / HTTP/1.1\r\nHost: ${host}\r\n${token.join(': ')}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Md5\r\nConnection: close\r\n\r\n` +
        '3\r\nabc\r\n0\r\nX-Md5: 1\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: a=1\r\n\r\n',
    )
    expect(await readAll(socket)).toMatch(/\r\n4\r\nbody\r\n0\r\nX-Sum: \["X-Md5","1"\]\r\n\r\n$/)
  })

  it('is told to go on by the server inside, not by the gateway', async () => {
    const server = http.createServer()
    const port = await front.inside(server)
    server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      if (request.url === '/no') response.writeHead(417).end('no')
      else {
        response.writeContinue()
        request.pipe(response)
      }
    })
    const head = (path: string) =>
      `POST ${path} HTTP/1.1\r\nHost: ${port}-${BOX}.localhost\r\n${token.join(': ')}\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\n`
    const refused = front.raw()
    refused.write(head('/no'))
    expect(await readAll(refused)).toMatch(/^HTTP\/1.1 417 /)
    const wanted = front.raw()
    wanted.write(head('/yes'))
    expect(await readUntil(wanted, '\r\n\r\n')).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    wanted.write('body')
    expect(await readAll(wanted)).toMatch(/^HTTP\/1.1 200 OK.*body/s)
  })

  it('is cut inside when its client goes away half-way', async () => {
    const { promise, resolve } = Promise.withResolvers<IncomingMessage>()
    const { host } = await inside((request) => {
      request.resume()
      request.once('error', () => {})
      request.once('close', () => resolve(request))
    })
    const socket = front.raw()
    socket.write(
      `POST / HTTP/1.1\r\nHost: ${host}\r\n${token.join(': ')}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`,
    )
    await expect.poll(() => front.box.dialled).toBe(1)
    socket.resetAndDestroy()
    expect((await promise).complete).toBe(false)
  })
})

describe('an answer', () => {
  it('leaves as it came, without what concerns the inner connection', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () =>
        socket.end(
          'HTTP/1.1 299 Very Fine\r\nX-B: 1\r\nx-a: \xe9\r\nX-B: 2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n' +
            'Set-Cookie: a=1; Domain=localhost\r\nSet-Cookie: b=2\r\nset-cookie: coppice-token=x\r\nContent-Length: 2\r\n\r\nok',
          'latin1',
        ),
      )
    })
    const port = await front.inside(server)
    const answer = await get(`${port}-${BOX}.localhost`)
    expect(answer).toMatchObject({ status: 299, text: 'ok' })
    expect(answer.rawHeaders).toEqual([
      'X-B',
      '1',
      'x-a',
      '\xe9',
      'X-B',
      '2',
      'Set-Cookie',
      'a=1',
      'Set-Cookie',
      'b=2',
      'Content-Length',
      '2',
      'Connection',
      'close',
    ])
  })

  it('is passed on as it comes: each event at once', async () => {
    const { promise, resolve } = Promise.withResolvers<ServerResponse>()
    const { host } = await inside((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.flushHeaders()
      resolve(response)
    })
    const request = http.get({ port: front.port, headers: ['Host', host, ...token], agent: false })
    const [answer] = (await once(request, 'response')) as [IncomingMessage]
    const events = await promise
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      events.write(event)
      expect(String((await once(answer, 'data'))[0])).toBe(event)
    }
    request.destroy()
    await once(events, 'close')
  })

  it('passes early hints on', async () => {
    const { host } = await inside((_request, response) => {
      response.writeEarlyHints({ link: '</a.css>; rel=preload', 'x-more': '1' })
      response.end('late')
    })
    const socket = front.raw()
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n${token.join(': ')}\r\nConnection: close\r\n\r\n`)
    expect(await readAll(socket)).toMatch(
      /^HTTP\/1.1 103 Early Hints\r\nLink: <\/a.css>; rel=preload\r\nx-more: 1\r\n\r\nHTTP\/1.1 200/,
    )
  })

  it('without length, from a server that just closes, comes whole; to a client of HTTP/1.0 without chunks', async () => {
    const server = net.createServer((socket) => {
      socket.once('data', () => socket.end(`HTTP/1.0 200 OK\r\n\r\n${'x'.repeat(100_000)}`))
    })
    const port = await front.inside(server)
    const answer = await get(`${port}-${BOX}.localhost`)
    expect(answer.headers['transfer-encoding']).toBe('chunked')
    expect(answer.body).toHaveLength(100_000)
    const old = front.raw()
    old.write(`GET / HTTP/1.0\r\nHost: ${port}-${BOX}.localhost\r\n${token.join(': ')}\r\n\r\n`)
    expect(await readAll(old)).toMatch(/^HTTP\/1.1 200 OK\r\nConnection: close\r\n\r\nx{100000}$/)
  })

  it.each([
    ['a length that is not reached', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'],
    ['chunks that do not end', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'],
  ])('that was cut inside is cut outside: %s', async (_what, text) => {
    const server = net.createServer((socket) => {
      socket.once('data', () => socket.end(text))
    })
    const port = await front.inside(server)
    await expect(get(`${port}-${BOX}.localhost`)).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  it('is cut when the session breaks, never shortened', async () => {
    const { host } = await inside((_request, response) => {
      response.write('begun')
    })
    const request = http.get({ port: front.port, headers: ['Host', host, ...token], agent: false })
    request.on('error', () => {})
    const [answer] = (await once(request, 'response')) as [IncomingMessage]
    await once(answer, 'data')
    front.box.cut()
    const [error] = await once(answer, 'error')
    expect(error).toMatchObject({ code: 'ECONNRESET' })
  })

  it('makes the server inside wait while its client does not read', async () => {
    let written = 0
    const { host } = await inside((request, response) => {
      if (request.url !== '/endless') {
        response.end()
        return
      }
      const chunk = Buffer.alloc(MiB)
      const more = () => {
        while (response.write(chunk)) written += 1
        response.once('drain', more)
      }
      more()
    })
    const headers = ['Host', host, ...token]
    const request = http.get({ port: front.port, path: '/endless', headers, agent: false })
    request.on('error', () => {})
    const [answer] = (await once(request, 'response')) as [IncomingMessage]
    answer.pause()
    for (let time = 0; time < 100; time += 1) await get(host)
    expect(written).toBeLessThan(32)
    request.destroy()
  })
})

describe('connections into a sandbox', () => {
  it('are kept and used again, and a few at most rest', async () => {
    const { host } = await inside((_request, response) => {
      setImmediate(() => response.end('ok'))
    })
    for (let time = 0; time < 5; time += 1) await get(host)
    expect(front.box.dialled).toBe(1)
    await Promise.all(Array.from({ length: 40 }, () => get(host)))
    expect(front.box.dialled).toBeLessThanOrEqual(41)
  })

  it('that ended while they rested are not used: also not when the server says so under a request', async () => {
    let answered = 0
    const server = net.createServer((socket) => {
      socket.on('error', () => {})
      let first = true
      socket.on('data', () => {
        if (!first) socket.resetAndDestroy()
        else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
        first = false
        answered += 1
      })
    })
    const port = await front.inside(server)
    expect((await get(`${port}-${BOX}.localhost`)).text).toBe('ok')
    expect((await get(`${port}-${BOX}.localhost`)).text).toBe('ok')
    expect({ dialled: front.box.dialled, answered }).toEqual({ dialled: 2, answered: 3 })
    // What might have been done is not done twice.
    const post = await get(`${port}-${BOX}.localhost`, { method: 'POST', body: 'x', headers: ['Content-Length', '1'] })
    expect(post).toMatchObject({ status: 502 })
    expect(answered).toBe(4)
  })

  it('go over the next session when one is lost', async () => {
    const { host } = await inside(echo)
    await get(host)
    front.box.cut()
    expect((await get(host)).status).toBe(200)
  })

  it('are bounded for each sandbox', async () => {
    const small = await new FrontServer({ maxConnections: 2 }).start()
    const answers: ServerResponse[] = []
    const port = await small.inside(http.createServer((_request, response) => answers.push(response)))
    const call = () => ask({ port: small.port, host: `${port}-${BOX}.localhost`, headers: token })
    const held = [call(), call()]
    await expect.poll(() => answers.length).toBe(2)
    const refused = await call()
    expect(refused).toMatchObject({ status: 503 })
    expect(JSON.parse(refused.text).error).toMatchObject({ reason: 'too_many_connections', retryable: true })
    for (const answer of answers) answer.end('ok')
    expect((await Promise.all(held)).map(({ status }) => status)).toEqual([200, 200])
    small.close()
  })
})

describe('a port that cannot be shown', () => {
  const free = async () => {
    const server = net.createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as net.AddressInfo
    server.close()
    await once(server, 'close')
    return port
  }

  it('on which nothing listens says so, as page or as JSON', async () => {
    const port = await free()
    const json = await get(`${port}-${BOX}.localhost`)
    expect(json).toMatchObject({ status: 502 })
    expect(json.headers['x-coppice-error']).toBe('failed_precondition/port_not_listening')
    expect(JSON.parse(json.text).error).toMatchObject({
      message: `Nothing listens on port ${port} in sandbox ${BOX}.`,
      hint: expect.stringContaining('coppice inspect'),
    })
    const page = await get(`${port}-${BOX}.localhost`, { headers: ['Accept', 'text/html,*/*'] })
    expect(page.headers['content-type']).toContain('text/html')
    expect(page.text).toContain(`Nothing listens on port ${port}`)
  })

  it('because its sandbox does not run, is gone, or never was says so', async () => {
    const stopped = new CoppiceError('failed_precondition', 'not_running', 'It is stopped.', {
      hint: 'coppice start',
      facts: { end: { lastOutput: 'secret' } },
    })
    front.targets.set(BOX, { id: BOX, name: 'box', publicPorts: [], gone: stopped })
    expect(await get(`80-${BOX}.localhost`)).toMatchObject({
      status: 503,
      text: expect.stringContaining('coppice start'),
    })
    expect((await get(`80-${BOX}.localhost`)).text).not.toContain('secret')
    const lost = new CoppiceError('unavailable', 'session_lost', 'Lost.')
    front.targets.set(BOX, { id: BOX, name: 'box', publicPorts: [], gone: lost })
    expect(await get(`80-${BOX}.localhost`)).toMatchObject({
      status: 503,
      text: expect.stringContaining('session_lost'),
    })
    front.targets.delete(BOX)
    expect(await get(`80-${BOX}.localhost`)).toMatchObject({ status: 404 })
    expect(await get('80-nobody.localhost')).toMatchObject({ status: 404 })
    expect(await get('what.localhost')).toMatchObject({ status: 404, text: expect.stringContaining('not_a_preview') })
  })

  it.each([
    ['what is not HTTP', 'SSH-2.0-OpenSSH_9\r\n\r\n'],
    ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
    ['a length and chunks', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['another protocol that nobody asked for', 'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'],
    ['nothing at all', ''],
    ['an endless head', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(200_000)}\r\n\r\n`],
  ])('because the server answers with %s is a 502', async (_what, text) => {
    const server = net.createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => socket.end(text))
    })
    const port = await front.inside(server)
    const answer = await get(`${port}-${BOX}.localhost`)
    expect(answer.status).toBe(502)
    expect(JSON.parse(answer.text).error).toMatchObject({ reason: 'bad_answer' })
  })
})

describe('access', () => {
  it('needs the token of that sandbox: in a header, a cookie or the query', async () => {
    const { host, port } = await inside(echo)
    const status = async (options: Partial<Ask>) => (await ask({ port: front.port, host, ...options })).status
    expect(await status({})).toBe(401)
    expect(await status({ headers: token })).toBe(200)
    expect(await status({ headers: ['Cookie', `x=1; coppice-token=${token[1]}`] })).toBe(200)
    expect(await status({ path: `/?coppice-token=${token[1]}` })).toBe(200)
    for (const wrong of [access.token(OTHER), '', SECRET, `${token[1]}=`, token[1]?.toUpperCase()]) {
      expect(await status({ headers: ['X-Coppice-Token', `${wrong}`] })).toBe(401)
      expect(await status({ headers: ['Cookie', `coppice-token=${wrong}`] })).toBe(401)
      expect(await status({ path: `/?coppice-token=${wrong}` })).toBe(401)
    }
    const otherHost = `${port}-${OTHER}.localhost`
    expect((await ask({ port: front.port, host: otherHost, headers: token })).status).toBe(401)
    expect((await ask({ port: front.port, host, headers: ['Authorization', `Bearer ${SECRET}`] })).status).toBe(401)
  })

  it('refused says how to get the address, and nothing of the sandbox', async () => {
    const answer = await ask({ port: front.port, host: `80-${BOX}.localhost`, headers: ['Accept', 'text/html'] })
    expect(answer.status).toBe(401)
    expect(answer.text).toContain(`coppice preview ${BOX} 80`)
    expect(answer.headers).toMatchObject({ 'cache-control': 'no-store' })
    expect(front.box.dialled).toBe(0)
  })

  it('by a name is the same as by the id', async () => {
    const { port } = await inside(echo)
    expect((await get(`${port}-box.localhost`)).status).toBe(200)
    expect((await get(`${port}-BOX.LOCALHOST`)).status).toBe(200)
  })

  it('to a public port needs nothing, to another port of the same sandbox it does', async () => {
    const shown = await inside(echo)
    const hidden = await inside(echo)
    front.targets.set(BOX, { id: BOX, name: 'box', publicPorts: [shown.port] })
    expect((await ask({ port: front.port, host: shown.host })).status).toBe(200)
    expect((await ask({ port: front.port, host: hidden.host })).status).toBe(401)
    expect((await ask({ port: front.port, host: `${shown.port}-${OTHER}.localhost` })).status).toBe(401)
  })

  it('of a browser turns the token of the address into a cookie', async () => {
    const { host } = await inside(echo)
    const browser = ['Sec-Fetch-Mode', 'navigate', 'Accept', 'text/html']
    const first = await ask({ port: front.port, host, path: `/a?b=1&coppice-token=${token[1]}`, headers: browser })
    expect(first).toMatchObject({ status: 303, headers: { location: '/a?b=1', 'referrer-policy': 'no-referrer' } })
    const [cookie] = first.headers['set-cookie'] ?? []
    expect(cookie).toBe(`coppice-token=${token[1]}; Path=/; HttpOnly; SameSite=Lax`)
    const second = await ask({
      port: front.port,
      host,
      path: '/a?b=1',
      headers: ['Cookie', `${cookie?.split(';')[0]}`],
    })
    expect(second.status).toBe(200)
    expect(second.text).not.toContain(token[1])
    const form = { port: front.port, host, path: `/?coppice-token=${token[1]}`, method: 'POST', headers: browser }
    expect(await ask(form)).toMatchObject({ status: 307, headers: { location: '/' } })
  })

  it('sends a browser nowhere else', async () => {
    for (const path of ['//evil.example/', '/\\evil.example', '///evil.example']) {
      const headers = ['Sec-Fetch-Mode', 'navigate']
      const answer = await ask({
        port: front.port,
        host: `80-${BOX}.localhost`,
        path: `${path}?coppice-token=${token[1]}`,
        headers,
      })
      expect(new URL(answer.headers.location ?? '', `http://80-${BOX}.localhost/`).hostname).toBe(`80-${BOX}.localhost`)
    }
  })

  it('tells how a removed sandbox ended to those who have its token', async () => {
    const removed = new CoppiceError('not_found', 'sandbox_removed', 'It was killed by the OOM killer.')
    front.targets.get = () => {
      throw removed
    }
    expect((await get(`80-${BOX}.localhost`)).text).toContain('OOM')
    const stranger = await ask({ port: front.port, host: `80-${BOX}.localhost` })
    expect(stranger).toMatchObject({ status: 404, text: expect.not.stringContaining('OOM') })
  })

  it('is told as an address with the id, a token unless public, and the port of the gateway', () => {
    const target = { id: BOX, name: 'box', publicPorts: [80] }
    expect(front.inbound.previewUrl(target, 80)).toBe(`http://80-${BOX}.localhost:${front.port}/`)
    expect(front.inbound.previewUrl(target, 81)).toBe(
      `http://81-${BOX}.localhost:${front.port}/?coppice-token=${token[1]}`,
    )
  })
})
