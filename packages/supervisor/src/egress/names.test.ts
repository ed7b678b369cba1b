import { expect, test } from 'vitest'
import { NameTable } from './names.ts'

const MINUTE = 60_000

function tableAt(options: { size?: number; maxNames?: number } = {}) {
  const clock = { now: 0 }
  return { clock, table: new NameTable(() => clock.now, options.size, options.maxNames) }
}

test('a name keeps its address, and the address means the name', () => {
  const { table } = tableAt()
  const a = table.addressOf('a.test')
  const b = table.addressOf('b.test')
  expect(a).toMatch(/^198\.1[89]\./)
  expect(b).not.toBe(a)
  expect(table.addressOf('a.test')).toBe(a)
  expect(table.meaningOf(a)).toEqual({ is: 'name', name: 'a.test' })
})

test('addresses that nobody was given, and the resolver itself, mean nothing; others mean themselves', () => {
  const { table } = tableAt()
  for (let index = 0; index < 20; index++) {
    const address = table.addressOf(`n${index}.test`)
    expect(['198.18.0.0', '198.18.0.1', '198.19.255.255']).not.toContain(address)
  }
  for (const address of ['198.18.0.0', '198.18.0.1', '198.19.255.255', '198.18.77.1']) {
    expect(table.meaningOf(address)).toEqual({ is: 'unknown' })
  }
  for (const address of ['198.17.255.255', '198.20.0.0', '10.0.0.1', 'a.test', '::1', '198.18.0.02', '3323068417']) {
    expect(table.meaningOf(address)).toEqual({ is: 'address' })
  }
})

test('the name that was used longest ago goes first; its address means nothing then', () => {
  const { table } = tableAt({ maxNames: 3 })
  const [a, b] = ['a', 'b', 'c'].map((name) => table.addressOf(name))
  table.meaningOf(a as string)
  table.addressOf('d')
  expect(table.meaningOf(b as string)).toEqual({ is: 'unknown' })
  expect(table.meaningOf(a as string)).toEqual({ is: 'name', name: 'a' })
})

test('no address gets another name within ten minutes of its last use, and all do after', () => {
  // 13 addresses can be had: the first, the resolver and the last are nobody's.
  const { table, clock } = tableAt({ size: 16, maxNames: 2 })
  const first = new Map<string, string>()
  for (let index = 0; index < 11; index++) first.set(table.addressOf(`n${index}`), `n${index}`)
  expect(first.size).toBe(11)
  clock.now = 10 * MINUTE - 1
  expect(first.has(table.addressOf('later'))).toBe(false)
  expect(first.has(table.addressOf('later2'))).toBe(false)
  clock.now = 10 * MINUTE
  expect(first.has(table.addressOf('reused'))).toBe(true)
})

test('when every address rests, the one that rests longest is given', () => {
  const { table, clock } = tableAt({ size: 16, maxNames: 2 })
  const given: string[] = []
  for (let index = 0; index < 13; index++) {
    clock.now = index
    given.push(table.addressOf(`n${index}`))
  }
  expect(new Set(given).size).toBe(13)
  expect(table.addressOf('one more')).toBe(given[0])
  expect(table.addressOf('and more')).toBe(given[1])
})

test('a flood of 300,000 names keeps 16,384 of them, each with an address of its own', () => {
  const { table } = tableAt()
  const newest: string[] = []
  for (let index = 0; index < 300_000; index++) {
    const address = table.addressOf(`n${index}`)
    if (index >= 300_000 - 16_384) newest.push(address)
  }
  expect(new Set(newest).size).toBe(16_384)
  expect(table.meaningOf(newest[0] as string)).toEqual({ is: 'name', name: `n${300_000 - 16_384}` })
})
