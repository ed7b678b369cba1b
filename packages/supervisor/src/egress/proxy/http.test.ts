import { expect, test } from 'vitest'
import { BadRequest } from './dialect.ts'
import { httpRefusal, httpRequest } from './http.ts'

const request = (head: string) => httpRequest(Buffer.from(head, 'latin1'))
const wanted = (head: string) => request(head)?.value.wanted

function answerTo(head: string | Buffer): string {
  try {
    httpRequest(Buffer.from(head as string, 'latin1'))
  } catch (error) {
    if (error instanceof BadRequest) return error.answer.toString().split('\r\n', 1)[0] ?? ''
    throw error
  }
  return 'taken'
}

test('CONNECT is taken off the bytes, and what follows it is left', () => {
  const found = request('CONNECT example.test:443 HTTP/1.1\r\nHost: other:1\r\n\r\nearly')
  expect(found?.value.wanted).toEqual({ via: 'connect', host: 'example.test', port: 443, exec: null })
  expect(found?.used).toBe('CONNECT example.test:443 HTTP/1.1\r\nHost: other:1\r\n\r\n'.length)
  expect(wanted('CONNECT [2001:db8::1]:8443 HTTP/1.0\n\n')).toMatchObject({ host: '2001:db8::1', port: 8443 })
  expect(wanted('CONNECT 0x7f000001:1 HTTP/1.1\r\n\r\n')).toMatchObject({ host: '0x7f000001', port: 1 })
})

test('every other request is left whole', () => {
  const found = request('GET http://example.test/ HTTP/1.1\r\nHost: example.test\r\n\r\n')
  expect(found?.value.wanted).toEqual({ via: 'http', host: '', port: 0, exec: null })
  expect(found?.used).toBe(0)
  expect(wanted('CONNECTION / HTTP/1.1\r\n\r\n')).toMatchObject({ via: 'http' })
})

test('a head that is not whole waits, wherever it is cut', () => {
  const head = 'CONNECT a:1 HTTP/1.1\r\nA: b\r\n\r\n'
  for (let length = 0; length < head.length; length++) expect(request(head.slice(0, length))).toBeUndefined()
  expect(request(head)).toBeDefined()
})

test('the exec is told by the credentials, and only what has the shape of an id counts', () => {
  const withUser = (user: string) => {
    const credentials = Buffer.from(`${user}:x`).toString('base64')
    return wanted(`CONNECT a:1 HTTP/1.1\r\nPROXY-authorization:  Basic ${credentials}\r\n\r\n`)?.exec
  }
  expect(withUser('ex-0123456789abcdef')).toBe('ex-0123456789abcdef')
  for (const user of ['', 'ex-0123456789abcde', 'ex-0123456789abcdeF', '../../etc', 'ex-0123456789abcdef\n']) {
    expect(withUser(user)).toBeNull()
  }
  expect(wanted('GET / HTTP/1.1\r\nProxy-Authorization: Bearer ex-0123456789abcdef\r\n\r\n')?.exec).toBeNull()
})

test('what is no request is refused in words that say so', () => {
  for (const target of [
    'a',
    'a:',
    ':1',
    'a:0',
    'a:65536',
    'a:99999',
    'u@a:1',
    'a/b:1',
    '[a]:1',
    'a:1:2',
    '[::1]',
    'a:+1',
  ]) {
    expect([target, answerTo(`CONNECT ${target} HTTP/1.1\r\n\r\n`)]).toEqual([target, 'HTTP/1.1 400 Bad Request'])
  }
  for (const head of ['CONNECT a:1 HTTP/2.0\r\n\r\n', 'CONNECT  a:1 HTTP/1.1\r\n\r\n', 'CONNECT a:1\r\n\r\n']) {
    expect([head, answerTo(head)]).toEqual([head, 'HTTP/1.1 400 Bad Request'])
  }
  for (const head of ['\x16\x03\x01', '\0', '\r\n', ' GET', '\xff']) {
    expect([head, answerTo(head)]).toEqual([head, 'HTTP/1.1 400 Bad Request'])
  }
  expect(answerTo(`CONNECT ${'a'.repeat(1025)}:1 HTTP/1.1\r\n\r\n`)).toBe('HTTP/1.1 400 Bad Request')
})

test('a head over 16 KiB is refused, whole or not', () => {
  const long = `GET / HTTP/1.1\r\nA: ${'a'.repeat(16 * 1024)}`
  expect(answerTo(long)).toBe('HTTP/1.1 431 Request Header Fields Too Large')
  expect(answerTo(`${long}\r\n\r\n`)).toBe('HTTP/1.1 431 Request Header Fields Too Large')
})

test('a refusal cannot be made to say more than one answer', () => {
  const answer = httpRefusal({
    kind: 'denied',
    rule: 'a\r\nSet-Cookie: x',
    message: 'no\r\n\r\nHTTP/1.1 200 ä',
    hint: 'do\nthat',
  }).toString()
  const [head = '', body] = [answer.slice(0, answer.indexOf('\r\n\r\n')), answer.slice(answer.indexOf('\r\n\r\n') + 4)]
  expect(head.split('\r\n')).toEqual([
    'HTTP/1.1 403 Forbidden: no HTTP/1.1 200  ',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body as string)}`,
    'X-Coppice-Rule: a Set-Cookie: x',
    'Connection: close',
  ])
  expect(body).toBe('no\r\n\r\nHTTP/1.1 200 ä\ndo\nthat\n')
})
