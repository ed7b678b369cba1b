import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { type ConnectionOptions, connect } from 'node:tls'
import { beforeAll, describe, expect, it } from 'vitest'
import { readClientHello } from './client-hello.ts'
import { inspect, tooSlow } from './gate.ts'
import { readHttpHead } from './http-head.ts'

/** The first bytes of a real TLS client. */
async function realHello(options: ConnectionOptions): Promise<Buffer> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect({ host: '127.0.0.1', port: (server.address() as { port: number }).port, ...options })
  client.on('error', () => {})
  const [socket] = (await once(server, 'connection')) as [Socket]
  const [first] = (await once(socket, 'data')) as [Buffer]
  client.destroy()
  socket.destroy()
  server.close()
  return first
}

let hello: Buffer
let noName: Buffer
let old: Buffer

beforeAll(async () => {
  hello = await realHello({ servername: 'Example.org', ALPNProtocols: ['h2', 'http/1.1'] })
  noName = await realHello({})
  old = await realHello({ servername: 'example.org', maxVersion: 'TLSv1.2' })
})

/** The same handshake message in records of `size` bytes. */
function inRecords(bytes: Buffer, size: number): Buffer {
  const message = bytes.subarray(5)
  const records: Buffer[] = []
  for (let at = 0; at < message.length; at += size) {
    const piece = message.subarray(at, at + size)
    records.push(Buffer.from([22, 3, 1, piece.length >> 8, piece.length & 255]), piece)
  }
  return Buffer.concat(records)
}

describe('a TLS ClientHello', () => {
  it('is read as real clients send it', () => {
    expect(readClientHello(hello)).toEqual({ is: 'hello', serverName: 'Example.org' })
    expect(readClientHello(old)).toEqual({ is: 'hello', serverName: 'example.org' })
    expect(readClientHello(noName)).toEqual({ is: 'hello', serverName: null })
  })

  it('is awaited however it is cut into packets', () => {
    for (let length = 1; length < hello.length; length += 1) {
      expect(readClientHello(hello.subarray(0, length)), String(length)).toEqual({ is: 'more' })
      expect(inspect(hello.subarray(0, length), 'example.org', false)).toEqual({ is: 'more' })
    }
  })

  it('is put together from several records', () => {
    for (const size of [1, 2, 3, 7, 50, 300]) {
      const spread = inRecords(hello, size)
      expect(readClientHello(spread), String(size)).toEqual({ is: 'hello', serverName: 'Example.org' })
      expect(readClientHello(spread.subarray(0, spread.length - 1)), String(size)).toEqual({ is: 'more' })
    }
  })

  it('passes with the name that was asked for alone', () => {
    expect(inspect(hello, 'example.org', false)).toEqual({ is: 'pass' })
    expect(inspect(Buffer.concat([hello, Buffer.from('more')]), 'example.org', false)).toEqual({ is: 'pass' })
    expect(inspect(hello, 'www.example.org', false)).toMatchObject({
      is: 'refuse',
      rule: 'sni_mismatch',
      answer: 'tls',
    })
    expect(inspect(noName, 'example.org', false)).toMatchObject({ is: 'refuse', rule: 'sni_mismatch' })
  })

  it('is refused when its lengths lie, whichever byte is changed, and never read beyond its end', () => {
    for (let at = 0; at < hello.length; at += 1) {
      for (const value of [0, 1, 0x7f, 0xff]) {
        const changed = Buffer.from(hello)
        changed[at] = value
        const result = inspect(changed, 'example.org', true)
        expect(['pass', 'refuse']).toContain(result.is)
        const read = readClientHello(changed)
        // The name that passes is always the one in the bytes.
        if (read.is === 'hello' && read.serverName?.toLowerCase() === 'example.org') {
          expect(changed.includes(read.serverName)).toBe(true)
        }
      }
    }
  })

  it('is refused when it is endless', () => {
    const endless = Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0]), Buffer.from([1, 0xff, 0xff, 0xff])])
    expect(readClientHello(endless)).toEqual({ is: 'malformed' })
    const long = Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xf0]), Buffer.alloc(16 * 1024)])
    expect(readClientHello(long.subarray(0, 16 * 1024)).is).toBe('malformed')
    const empties = Buffer.concat(Array.from({ length: 100 }, () => Buffer.from([22, 3, 1, 0, 0])))
    expect(readClientHello(empties)).toEqual({ is: 'malformed' })
  })

  it('is refused with two names, with two lists of names, and when the connection ends in it', () => {
    const name = Buffer.from('example.org')
    const entry = (text: Buffer) => Buffer.concat([Buffer.from([0, 0, text.length]), text])
    const list = (...entries: Buffer[]) => {
      const inner = Buffer.concat(entries)
      return Buffer.concat([Buffer.from([0, 0, 0, inner.length + 2, 0, inner.length]), inner])
    }
    const made = (...extensions: Buffer[]) => {
      const rest = Buffer.concat(extensions)
      const body = Buffer.concat([
        Buffer.from([3, 3]),
        Buffer.alloc(32),
        Buffer.from([0, 0, 2, 0x13, 1, 1, 0, rest.length >> 8, rest.length & 255]),
        rest,
      ])
      return Buffer.concat([Buffer.from([22, 3, 1, 0, body.length + 4, 1, 0, 0, body.length]), body])
    }
    expect(inspect(made(list(entry(name))), 'example.org', false)).toEqual({ is: 'pass' })
    expect(inspect(made(list(entry(name), entry(name))), 'example.org', false)).toMatchObject({ rule: 'malformed_tls' })
    expect(inspect(made(list(entry(name)), list(entry(name))), 'example.org', false)).toMatchObject({
      rule: 'malformed_tls',
    })
    expect(inspect(hello.subarray(0, 100), 'example.org', true)).toMatchObject({ rule: 'malformed_tls' })
  })
})

describe('an HTTP/1 request', () => {
  const on = (text: string, ended = false) => inspect(Buffer.from(text, 'latin1'), 'example.org', ended)

  it.each([
    'GET / HTTP/1.1\r\nHost: example.org\r\n\r\n',
    'GET / HTTP/1.1\r\nhost:EXAMPLE.org:8080\r\nX: y\r\n\r\nbody',
    'GET / HTTP/1.1\r\nHost: example.org.\r\n\r\n',
    'GET http://example.org/x HTTP/1.1\r\nHost: example.org\r\n\r\n',
    'GET / HTTP/1.0\r\n\r\n',
    'FOO /x HTTP/1.1\r\nHost: example.org\r\n\r\n',
  ])('passes for the name that was asked for: %j', (text) => {
    expect(on(text)).toEqual({ is: 'pass' })
    expect(on(text.slice(0, text.indexOf('\r\n\r\n')))).toEqual({ is: 'more' })
  })

  it.each([
    ['GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n', 'host_mismatch'],
    ['get / http/1.1\r\nHost: evil.example\r\n\r\n', 'host_mismatch'],
    ['GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n', 'host_mismatch'],
    ['GET http://evil.example/ HTTP/1.0\r\n\r\n', 'host_mismatch'],
    ['GET / HTTP/1.1\r\nHost: example.org@evil.example\r\n\r\n', 'host_mismatch'],
    ['GET / HTTP/1.1\r\n\r\n', 'malformed_request'],
    ['GET / HTTP/1.1\r\nHost: example.org\r\nHost: evil.example\r\n\r\n', 'malformed_request'],
    ['GET http://evil.example/ HTTP/1.1\r\nHost: example.org\r\n\r\n', 'malformed_request'],
    ['GET / HTTP/1.1\r\nHost : evil.example\r\nHost: example.org\r\n\r\n', 'malformed_request'],
    ['GET / HTTP/1.1\r\nX: y\r\n Host: evil.example\r\nHost: example.org\r\n\r\n', 'malformed_request'],
    ['GET / HTTP/1.1\nHost: evil.example\n\n', 'malformed_request'],
    ['GET / HTTP/1.1\r\nX: y\nHost: evil.example\r\nHost: example.org\r\n\r\n', 'malformed_request'],
    ['GET / HTTP/1.1\r\nHost: example.org\n\r\n', 'malformed_request'],
    ['GET  / HTTP/1.1\r\nHost: evil.example\r\n\r\n', 'malformed_request'],
    ['GET\t/\tHTTP/1.1\r\nHost: evil.example\r\n\r\n', 'malformed_request'],
    [' GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n', 'malformed_request'],
    [`GET / HTTP/1.1\r\nX: ${'y'.repeat(33_000)}`, 'malformed_request'],
  ])('is refused: %j', (text, rule) => {
    expect(on(text)).toMatchObject({ is: 'refuse', rule, answer: 'http' })
  })

  it('is refused when the connection ends within its head', () => {
    expect(on('GET / HTTP/1.1\r\nHost: evil.example\r\n', true)).toMatchObject({ rule: 'malformed_request' })
  })

  it('reads the host however the head is cut', () => {
    const head = Buffer.from('POST /a?b HTTP/1.1\r\nX: 1\r\nHost: a.example:81\r\n\r\n')
    for (let length = 1; length < head.length; length += 1)
      expect(readHttpHead(head.subarray(0, length)).is).toBe('more')
    expect(readHttpHead(head)).toEqual({ is: 'head', host: 'a.example:81' })
  })
})

describe('other protocols', () => {
  it.each([
    'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n',
    'EHLO there\r\n',
    'PING\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    '\x00\x00\x00\x08\x04\xd2\x16\x2f',
    '*1\r\n$4\r\nPING\r\n',
    'GET /\r\n',
    '{"a":1}',
    '\x16\x02',
    '0\x0c\x02\x01\x01',
  ])('pass: %j', (text) => {
    expect(inspect(Buffer.from(text, 'latin1'), 'example.org', false)).toEqual({ is: 'pass' })
  })

  it('pass when they end while they could still have become a request', () => {
    expect(inspect(Buffer.from('hello'), 'example.org', false)).toEqual({ is: 'more' })
    expect(inspect(Buffer.from('hello'), 'example.org', true)).toEqual({ is: 'pass' })
  })

  it('are told in their own words when they are too slow', () => {
    expect(tooSlow(hello.subarray(0, 10))).toMatchObject({ rule: 'first_bytes', answer: 'tls' })
    expect(tooSlow(Buffer.from('GET '))).toMatchObject({ rule: 'first_bytes', answer: 'http' })
  })
})
