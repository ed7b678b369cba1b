import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { bytesOf, numberOf, readFields, textOf, writeField } from './protobuf.ts'

const read = (message: Buffer) => [...readFields(message)]

test('fields come out as they went in', () => {
  const message = Buffer.concat([writeField(1, 'täxt'), writeField(2, 0), writeField(300, 2 ** 40), writeField(4, '')])
  const [text, nothing, big, empty] = read(message)
  expect(text && [text.number, textOf(text)]).toEqual([1, 'täxt'])
  expect(nothing && [nothing.number, numberOf(nothing)]).toEqual([2, 0])
  expect(big && [big.number, numberOf(big)]).toEqual([300, 2 ** 40])
  expect(empty && bytesOf(empty)).toHaveLength(0)
})

test('bytes are those of other implementations', () => {
  // From the documentation of the format: field 1 is 150; field 2 is "testing".
  expect(writeField(1, 150).toString('hex')).toBe('089601')
  expect(writeField(2, 'testing').toString('hex')).toBe('120774657374696e67')
  // -1 takes ten bytes; fixed fields of 8 and of 4 bytes are stepped over.
  const [negative, ...fixed] = read(Buffer.from('08ffffffffffffffffff01110000000000000000150000803f', 'hex'))
  expect(negative && numberOf(negative)).toBe(-1)
  expect(fixed.map(({ number, value }) => [number, (value as Buffer).length])).toEqual([
    [2, 8],
    [2, 4],
  ])
})

test('what is no message is said as that, whatever it is', () => {
  const cut = ['08', '0880', '1205aa', '1a', '110000', '0b', `08${'ff'.repeat(11)}`, '12ffffffffffffffff7f00']
  for (const hex of cut) expect(() => read(Buffer.from(hex, 'hex')), hex).toThrow(RangeError)
  for (let round = 0; round < 2000; round++) {
    try {
      read(randomBytes(round % 64))
    } catch (cause) {
      expect(cause).toBeInstanceOf(RangeError)
    }
  }
})
