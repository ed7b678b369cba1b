import { describe, expect, it } from 'vitest'
import { readRow } from './entry.ts'
import { findRows } from './rows.ts'

const rowsOf = (text: string): string[] | undefined => {
  const bytes = Buffer.from(text)
  return findRows(bytes, ({ start, end }) => readRow(bytes.subarray(start, end)).problem === undefined)?.map(
    ({ start, end }) => bytes.toString('utf8', start, end),
  )
}
const row = (name: string, more = '') => `{"containerName":"${name}"${more}}`
const A = row('a')
const B = row('b', ',"mounts":[{"containerName":"inner"},{"x":"},{"}]')
const C = row('c')

describe('the rows of a legacy file', () => {
  it.each([
    [`{"entries":[${A},${B},${C}]}`],
    [`{ "version": 2, "meta": {"entries":[1]},\n "entries" : [ ${A} ,\n ${B}, ${C} ] , "more": [] }`],
  ])('are its own bytes: %s', (text) => {
    expect(rowsOf(text)).toEqual([A, B, C])
  })

  it('are none in an empty list, and undefined without a list', () => {
    expect(rowsOf('{"entries":[]}')).toEqual([])
    for (const text of ['', '[]', '{}', '{"entries":{}}', '{"other":[{"entries":[1]}]}', 'garbage'])
      expect(rowsOf(text)).toBeUndefined()
  })

  it.each([
    ['a row of another type', `{"entries":[${A},42,${C}]}`, [A, '42', C]],
    ['a row without a name', `{"entries":[${A},{"image":"x","in":[${B}]},${C}]}`, [A, `{"image":"x","in":[${B}]}`, C]],
    [
      'invalid JSON with whole brackets',
      `{"entries":[${A},{"containerName":"b", oops},${C}]}`,
      [A, '{"containerName":"b", oops}', C],
    ],
    [
      'a quote that is missing',
      `{"entries":[${A},{"containerName":"b,"image":"x"},${C}]}`,
      [A, '{"containerName":"b,"image":"x"}', C],
    ],
    [
      'a quote too many',
      `{"entries":[${A},{"containerName":"b"","image":"x"},${C}]}`,
      [A, '{"containerName":"b"","image":"x"}', C],
    ],
    [
      'a brace that is missing at the end',
      `{"entries":[${A},{"containerName":"b","image":"x",${C}]}`,
      [A, '{"containerName":"b","image":"x"', C],
    ],
    [
      'a brace that is missing at the start',
      `{"entries":[${A},"containerName":"b"},${C}]}`,
      [A, '"containerName":"b"}', C],
    ],
    [
      'a bracket of the wrong kind',
      `{"entries":[${A},{"containerName":"b","x":[1},${C}]}`,
      [A, '{"containerName":"b","x":[1}', C],
    ],
    ['truncation', `{"entries":[${A},${C},{"containerName":"cut o`, [A, C, '{"containerName":"cut o']],
    ['truncation behind a comma', `{"entries":[${A},${C},`, [A, C]],
  ])('survive a neighbour that is bad: %s', (_, text, expected) => {
    expect(rowsOf(text)).toEqual(expected)
  })

  // What is not linear here does not end within the time of the test.
  it('are found in time in a hostile file', { timeout: 120_000 }, () => {
    const found = rowsOf(`{"entries":[${A},{"x":"${',{'.repeat(300_000)}`)
    expect(found?.[0]).toBe(A)
  })
})
