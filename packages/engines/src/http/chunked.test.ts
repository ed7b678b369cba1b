import { expect, test } from 'vitest'
import { ChunkedDecoder } from './chunked.ts'

function decode(...pieces: string[]): { text: string; done: boolean } {
  let text = ''
  const decoder = new ChunkedDecoder((bytes) => {
    text += bytes.toString('latin1')
  })
  for (const piece of pieces) decoder.take(Buffer.from(piece, 'latin1'))
  return { text, done: decoder.done }
}

const BODY = '5\r\nhello\r\n00A;why=not\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n'

test('content comes without its chunks, wherever it is cut', () => {
  const whole = { text: 'hello0123456789', done: true }
  expect(decode(BODY)).toEqual(whole)
  expect(decode(...BODY)).toEqual(whole)
  for (let at = 1; at < BODY.length; at++) expect(decode(BODY.slice(0, at), BODY.slice(at))).toEqual(whole)
})

test('a body that is cut is never done', () => {
  for (let at = 0; at < BODY.length; at++) expect(decode(BODY.slice(0, at)).done).toBe(false)
})

test.each(['x\r\n', '-1\r\na', '5\nhello', '5\r\nhello!\r\n', '\r\n', '1'.repeat(13), `5;${'x'.repeat(5000)}`])(
  'what is not this coding is refused: %j',
  (text) => {
    expect(() => decode(text, '\r\n')).toThrow('cannot be read')
  },
)
