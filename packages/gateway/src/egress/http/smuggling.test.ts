import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { allow, local, place, plain, raw, world } from '../testing/kit.ts'

describe('smuggling', () => {
  async function guarded() {
    const heard: string[] = []
    const port = await world().tcp((socket) =>
      socket.on('data', (chunk) => {
        heard.push(chunk.toString('latin1'))
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      }),
    )
    const box = await place({ policy: allow(local(port)) })
    return { heard, port, box }
  }

  it.each([
    [
      'both lengths',
      'POST URL HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [
      'chunked first',
      'POST URL HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n',
    ],
    ['two lengths', 'POST URL HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello'],
    ['two equal lengths', 'POST URL HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello'],
    ['a list of lengths', 'POST URL HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello'],
    ['a signed length', 'POST URL HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello'],
    ['another coding', 'POST URL HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'],
    [
      'two codings',
      'POST URL HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    ['an unknown coding', 'POST URL HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n'],
    [
      'a space before the colon',
      'POST URL HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n',
    ],
    ['bare line feeds', 'GET URL HTTP/1.1\nHost: x\n\n'],
    ['a bare line feed in the head', 'GET URL HTTP/1.1\r\nHost: x\nX: y\r\n\r\n'],
    ['a bare carriage return', 'GET URL HTTP/1.1\r\nHost: x\rX: y\r\n\r\n'],
    ['a folded field', 'GET URL HTTP/1.1\r\nHost: x\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n'],
    ['two hosts', 'GET URL HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n'],
    ['no host', 'GET URL HTTP/1.1\r\n\r\n'],
    ['a null byte', 'GET URL HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n'],
    [
      'a chunk size that overflows',
      'POST URL HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n',
    ],
    ['a path with a space', 'GET URL x HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['credentials in the address', 'GET http://me@127.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a path alone', 'GET /x HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['https without a tunnel', 'GET https://example.org/ HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['another scheme', 'GET ftp://example.org/ HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['an asterisk', 'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a port out of range', 'GET http://127.0.0.1:65536/ HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['HTTP/2 in clear', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['no HTTP at all', '\x16\x03\x01\x02\x00\x01\x00'],
  ])('with %s is refused, recorded, and nothing of it goes out', async (_what, shape) => {
    const { heard, port, box } = await guarded()
    const stream = await plain(box)
    stream.write(Buffer.from(shape.replace('URL', `http://127.0.0.1:${port}/`), 'latin1'))
    stream.resume()
    const [first] = (await once(stream, 'data')) as [Buffer]
    expect(first.toString()).toMatch(/^HTTP\/1\.1 400 /)
    stream.close(8)
    await expect.poll(() => box.counts.open).toBe(0)
    expect(heard.filter((text) => !text.startsWith('POST / HTTP/1.1\r\nHost: 127.0.0.1'))).toEqual([])
    expect(box.counts.denied).toBe(1)
    expect((await box.records()).filter(({ verdict }) => verdict === 'denied')).toMatchObject([{ via: 'http' }])
  })

  it('by an address against Host, or by what Connection lists, is undone because the request is made anew', async () => {
    const { heard, port, box } = await guarded()
    await raw(
      box,
      `POST http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close, content-length, host\r\nContent-Length: 3\r\n\r\nabc`,
    )
    const text = heard.join('')
    expect(text).toContain(`Host: 127.0.0.1:${port}\r\n`)
    expect(text).toContain('Content-Length: 3\r\n')
    expect(text).not.toContain('evil')
    expect(text.endsWith('\r\n\r\nabc')).toBe(true)
  })

  it('by a head that is too long is refused', async () => {
    const { box } = await guarded()
    const answer = await raw(box, `GET http://127.0.0.1/ HTTP/1.1\r\nHost: x\r\nX: ${'y'.repeat(70_000)}\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 431 /)
  })

  it('by answers that can be read two ways is refused too', async () => {
    const here = world()
    const port = await here.tcp((socket) =>
      socket.once('data', () =>
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
      ),
    )
    const box = await place({ policy: allow(local(port)) })
    const answer = await raw(box, `GET http://127.0.0.1:${port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 502 /)
  })
})
