import { expect, test } from 'vitest'
import { Gate } from './gate.ts'

const open = () => new Gate(() => ({ is: 'pass' }))

test('a few empty lines pass, and what follows them is looked at', () => {
  const passed: string[] = []
  const gate = open()
  expect(gate.push(Buffer.from('\r\n'), (blank) => passed.push(blank.toString()))).toEqual({ is: 'more' })
  expect(gate.push(Buffer.from('\nGET'), (blank) => passed.push(blank.toString()))).toEqual({ is: 'pass' })
  expect([passed, gate.bytes.toString()]).toEqual([['\r\n', '\n'], 'GET'])
})

test('empty lines without end are refused, and no more of them go out', () => {
  let out = 0
  const gate = open()
  let verdict = gate.push(Buffer.alloc(60, '\n'), (blank) => (out += blank.length))
  expect(verdict).toEqual({ is: 'more' })
  verdict = gate.push(Buffer.alloc(1_000_000, '\n'), (blank) => (out += blank.length))
  expect([verdict.is, out]).toEqual(['refuse', 60])
})
