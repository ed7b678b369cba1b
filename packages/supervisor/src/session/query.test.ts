import { expect, test } from 'vitest'
import { Query } from './query.ts'

test('bytes that are not UTF-8 come through', () => {
  expect(new Query('path=/tmp/%ff%00x').bytes('path')).toEqual(Buffer.from('2f746d702fff0078', 'hex'))
})

test('spaces, plus signs and UTF-8 in either spelling', () => {
  expect(new Query('a=x+y%20z%2B&b=%C3%A9').text('a')).toBe('x y z+')
  expect(new Query('b=%C3%A9').text('b')).toBe('é')
  expect(new Query('b=é').text('b')).toBe('é')
})

test('a percent sign that starts nothing is itself', () => {
  expect(new Query('a=100%&b=%zz').text('a')).toBe('100%')
  expect(new Query('b=%zz').text('b')).toBe('%zz')
})

test('flags and counts', () => {
  const query = new Query('f=1&g=true&h=0&n=12&m=x&big=99999999999999999999&e')
  expect([query.flag('f'), query.flag('g'), query.flag('h'), query.flag('none')]).toEqual([true, true, false, false])
  expect(query.count('n')).toBe(12)
  expect(query.count('none')).toBeUndefined()
  expect(query.text('e')).toBe('')
  for (const name of ['m', 'big', 'e']) {
    expect(() => query.count(name)).toThrow(expect.objectContaining({ reason: 'bad_query' }))
  }
})
