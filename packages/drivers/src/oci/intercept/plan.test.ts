import { describe, expect, test } from 'vitest'
import type { InterceptPlan } from '../../driver.ts'
import { checkPlan } from './plan.ts'
import { ruleset } from './ruleset.ts'

const plan = (changes: Partial<InterceptPlan> = {}): InterceptPlan => ({
  resolver: { address: '198.18.0.1', at: 61_438 },
  ranges: ['198.18.0.0/15'],
  ports: [{ port: 443, at: 61_441 }],
  ...changes,
})

describe('a plan of connections', () => {
  test('has its ranges by their network addresses, each once, and the resolver among them', () => {
    const ranges = ['10.1.2.3/8', '10.0.0.0/8', '203.0.113.200/25', '8.8.8.8/0', '192.0.2.1/32']
    expect(checkPlan(plan({ ranges })).ranges).toEqual([
      ...['10.0.0.0/8', '203.0.113.128/25', '0.0.0.0/0', '192.0.2.1/32', '198.18.0.1/32'],
    ])
  })

  test('never routes this network, loopback, multicast and reserved addresses', () => {
    const ranges = ['127.0.0.1/32', '127.0.0.0/8', '0.0.0.0/8', '224.0.0.1/32', '240.0.0.0/8', '255.255.255.255/32']
    expect(checkPlan(plan({ ranges })).ranges).toEqual(['198.18.0.1/32'])
  })

  test.each<[string, Partial<InterceptPlan>]>([
    ['a range of 33 bits', { ranges: ['10.0.0.0/33'] }],
    ['a range without a length', { ranges: ['10.0.0.0'] }],
    ['a range with something behind it', { ranges: ['10.0.0.0/8/8'] }],
    ['a length with a sign', { ranges: ['10.0.0.0/+8'] }],
    ['an IPv6 range', { ranges: ['fd00::/8'] }],
    ['words of nft', { ranges: ['10.0.0.0/8 } ; delete table ip coppice'] }],
    ['port 0', { ports: [{ port: 0, at: 61_441 }] }],
    ['half a port', { ports: [{ port: 1.5, at: 61_441 }] }],
    ['a port named twice', { ports: ['a', 'b'].map((_, at) => ({ port: 443, at: 61_441 + at })) }],
    ['two ports at one', { ports: [80, 443].map((port) => ({ port, at: 61_441 })) }],
    ['a port at the resolver’s', { ports: [{ port: 443, at: 61_438 }] }],
    ['a resolver by name', { resolver: { address: 'localhost', at: 61_438 } }],
  ])('is refused with %s', (_, changes) => {
    expect(() => checkPlan(plan(changes))).toThrow(expect.objectContaining({ reason: 'bad_intercept_plan' }))
  })

  test('becomes one transaction that has no empty list in it', () => {
    const rules = ruleset(checkPlan(plan({ ports: [], ranges: [] })))
    expect(rules).toMatch(/^add table ip coppice\ndelete table ip coppice\ntable ip coppice \{/)
    expect(rules).not.toMatch(/\{\s*\}/)
    expect(rules.match(/elements/g)).toHaveLength(1)
  })
})
