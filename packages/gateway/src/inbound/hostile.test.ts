import http, { type IncomingMessage } from 'node:http'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { PreviewAccess } from './access.ts'
import { BOX, FrontServer, SECRET } from './testing/front-server.ts'
import { readAll } from './testing/raw-client.ts'

const token = new PreviewAccess(SECRET).token(BOX)

let front: FrontServer
let seen: IncomingMessage[]
let host: string
beforeEach(async () => {
  front = await new FrontServer().start()
  seen = []
  const server = http.createServer((request, response) => {
    seen.push(request)
    request.resume()
    request.once('end', () => response.end(`saw ${request.url}`))
  })
  host = `${await front.inside(server)}-${BOX}.localhost`
})
afterEach(() => {
  front.close()
  expect(front.faults).toEqual([])
})

/** Sends bytes as they are and returns all that comes back. */
function send(bytes: string): Promise<string> {
  const socket = front.raw()
  socket.write(bytes, 'latin1')
  return readAll(socket)
}

const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
const head = (line: string, ...headers: string[]) =>
  `${line}\r\nHost: ${host}\r\nX-Coppice-Token: ${token}\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n`

describe('requests of which two ends could think differently', () => {
  it.each([
    ['length and chunks', ['Content-Length: 4', 'Transfer-Encoding: chunked']],
    ['chunks and length', ['Transfer-Encoding: chunked', 'Content-Length: 4']],
    ['two lengths', ['Content-Length: 4', 'Content-Length: 44']],
    ['a list of lengths', ['Content-Length: 4, 44']],
    ['a signed length', ['Content-Length: +4']],
    ['a hexadecimal length', ['Content-Length: 0x4']],
    ['another coding', ['Transfer-Encoding: gzip, chunked']],
    ['a coding that only looks so', ['Transfer-Encoding: xchunked']],
    ['chunks before another coding', ['Transfer-Encoding: chunked, identity']],
    ['a space before the colon', ['Transfer-Encoding : chunked']],
    ['a folded header', ['Content-Length:', ' 4']],
    ['a bare line feed', ['X: a\nContent-Length: 0']],
    ['a bare carriage return', ['X: a\rContent-Length: 0']],
    ['a NUL', ['X: a\0b']],
  ])('by %s are refused and go nowhere', async (_what, headers) => {
    const answer = await send(head('POST / HTTP/1.1', ...headers) + smuggled)
    expect(answer).toMatch(/^HTTP\/1.1 400 /)
    expect(answer).not.toMatch(/HTTP\/1.1 [^4]/)
    expect({ seen: seen.length, api: front.api.length }).toEqual({ seen: 0, api: 0 })
  })

  it.each(['80-other.localhost', 'localhost', ''])('by a second host %j are refused and go nowhere', async (second) => {
    expect(await send(head('GET / HTTP/1.1', `Host: ${second}`))).toMatch(/^HTTP\/1.1 400 .*Connection: close/is)
    expect({ seen: seen.length, api: front.api.length }).toEqual({ seen: 0, api: 0 })
  })

  it.each([
    ['an absolute address', 'GET http://localhost/v1/status HTTP/1.1'],
    ['an absolute address of another sandbox', 'GET http://80-other.localhost/ HTTP/1.1'],
    ['an asterisk', 'GET * HTTP/1.1'],
    ['a tunnel', 'CONNECT localhost:80 HTTP/1.1'],
    ['no path', 'GET ?x HTTP/1.1'],
    ['HTTP/2', 'PRI * HTTP/2.0'],
    ['a space in its path', 'GET /a b HTTP/1.1'],
  ])('with %s for a path are refused', async (_what, line) => {
    expect(await send(head(line))).not.toMatch(/^HTTP\/1.1 2/)
    expect({ seen: seen.length, api: front.api.length }).toEqual({ seen: 0, api: 0 })
  })

  it('in chunks with surplus are not two', async () => {
    const chunked = head('POST / HTTP/1.1', 'Transfer-Encoding: chunked', 'Connection: close')
    expect(await send(`${chunked}2\r\nabc\r\n0\r\n\r\n${smuggled}`)).not.toMatch(/smuggled/)
    expect(await send(`${chunked}0 \r\n\r\n${smuggled}`)).not.toMatch(/smuggled/)
    expect(await send(`${chunked}-1\r\n\r\n${smuggled}`)).not.toMatch(/smuggled/)
    expect(seen.filter(({ url }) => url !== '/')).toEqual([])
  })

  it('one behind the other each have to show their token', async () => {
    const answer = await send(`${head('GET /a HTTP/1.1')}GET /b HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1.1 200 OK.*saw \/a.*HTTP\/1.1 401 /s)
    expect(seen.map(({ url }) => url)).toEqual(['/a'])
  })
})

describe('heads', () => {
  it('that name framing as theirs to drop keep it', async () => {
    const named = 'Connection: close, Content-Length, Host, Transfer-Encoding, X-Forwarded-For, Cookie'
    const body = head('POST / HTTP/1.1', named, 'Content-Length: 4', 'Cookie: a=1')
    expect(await send(`${body}body`)).toMatch(/^HTTP\/1.1 200/)
    expect(seen[0]?.headers).toMatchObject({ host, 'content-length': '4', 'x-forwarded-for': '127.0.0.1' })
    expect(seen[0]?.headers.cookie).toBeUndefined()
  })

  it('that are too large are refused', async () => {
    expect(await send(head('GET / HTTP/1.1', `X: ${'x'.repeat(17_000)}`))).toMatch(/^HTTP\/1.1 431 /)
    expect(await send(head(`GET /${'x'.repeat(17_000)} HTTP/1.1`))).toMatch(/^HTTP\/1.1 431 /)
    expect(seen).toHaveLength(0)
  })

  it('with bytes that are not ASCII go through as they are', async () => {
    const answer = await send(head('GET / HTTP/1.1', 'X-Byte: \xe9\xff', 'Connection: close'))
    expect(answer).toMatch(/^HTTP\/1.1 200/)
    expect(seen[0]?.headers['x-byte']).toBe('\xe9\xff')
  })
})

describe('paths', () => {
  it.each([
    '/..',
    '/../../v1/status',
    '/%2e%2e/v1/sandboxes',
    '//v1/status',
    '/v1/status',
    '/openapi.json',
    '/healthz',
    '/a/./b',
    '/;x',
    '/%00',
  ])('%s is of the sandbox and never of the API', async (path) => {
    expect(await send(head(`GET ${path} HTTP/1.1`, 'Connection: close'))).toContain(`saw ${path}`)
    expect(front.api).toHaveLength(0)
  })

  it('of the API are refused to pages and hosts of sandboxes', async () => {
    const bearer = `Authorization: Bearer ${SECRET}`
    const answer = await send(
      `GET /v1/status HTTP/1.1\r\nHost: 80-${BOX}.localhost\r\n${bearer}\r\nConnection: close\r\n\r\n`,
    )
    expect(answer).toMatch(/^HTTP\/1.1 401 .*bad_preview_token/s)
    const headers = { host: 'localhost', authorization: `Bearer ${SECRET}`, origin: `http://${host}` }
    expect(() => front.guard.check({ headers } as unknown as IncomingMessage, false)).toThrow('other origins')
    for (const name of [host, `80-${BOX}.localhost`, 'x.localhost', 'localhost.'])
      expect(() =>
        front.guard.check({ headers: { ...headers, origin: undefined, host: name } } as never, false),
      ).toThrow('not called')
  })
})

describe('guesses of a token', () => {
  it('are refused whatever shape they have', async () => {
    const guesses = ['', ' ', token.slice(0, -1), `${token}x`, `"${token}"`, token.split('').reverse().join(''), SECRET]
    for (const guess of guesses) {
      const answer = await send(
        `GET / HTTP/1.1\r\nHost: ${host}\r\nCookie: coppice-token=${guess}\r\nConnection: close\r\n\r\n`,
      )
      expect(answer).toMatch(/^HTTP\/1.1 401 /)
    }
    const many = Array.from({ length: 200 }, (_, at) => `coppice-token=${at}`).join('; ')
    expect(await send(`GET / HTTP/1.1\r\nHost: ${host}\r\nCookie: ${many}\r\nConnection: close\r\n\r\n`)).toMatch(
      / 401 /,
    )
    expect(seen).toHaveLength(0)
  })

  it('tossed by another host beside the true one do no harm', async () => {
    const cookie = `Cookie: coppice-token=evil; coppice-token=${token}`
    expect(await send(`GET / HTTP/1.1\r\nHost: ${host}\r\n${cookie}\r\nConnection: close\r\n\r\n`)).toMatch(/ 200 OK/)
    expect(seen[0]?.headers.cookie).toBeUndefined()
  })
})
