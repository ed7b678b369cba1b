import { CoppiceError, type NetworkPolicy } from '@coppice/protocol'
import { describe, expect, it } from 'vitest'
import { interceptPorts, interceptRanges } from './intercept.ts'
import { parseRule } from './rule.ts'

describe('parseRule', () => {
  it.each([
    ['api.github.com', 'api.github.com'],
    ['  API.GitHub.com. ', 'api.github.com'],
    ['*.Example.ORG', '*.example.org'],
    ['*.example.org:8443', '*.example.org:8443'],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['host_name.example:1', 'host_name.example:1'],
    ['internal', 'internal'],
    ['10.0.0.0/8', '10.0.0.0/8'],
    ['10.0.0.1', '10.0.0.1'],
    ['10.0.0.1/32', '10.0.0.1'],
    ['10.0.0.1:80', '10.0.0.1:80'],
    ['10.0.0.0/8:80', '10.0.0.0/8:80'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['2130706433', '127.0.0.1'],
    ['2001:DB8::1', '2001:db8::1'],
    ['2001:db8::/32', '2001:db8::/32'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['[2001:db8::1]:443', '[2001:db8::1]:443'],
    ['[2001:db8::]/32:443', '[2001:db8::]/32:443'],
    ['::/0', '::/0'],
    ['::ffff:10.0.0.1', '10.0.0.1'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
  ])('reads %j as %j', (text, canonical) => {
    expect(parseRule(text).text).toBe(canonical)
    expect(parseRule(canonical).text).toBe(canonical)
  })

  it.each([
    '',
    '*',
    '*.',
    '*.*.example.org',
    'a.*.org',
    '*.10.0.0.1',
    'example.org:0',
    'example.org:65536',
    'example.org:http',
    'example.org/path',
    'https://example.org',
    'user@example.org',
    '10.0.0.1/8',
    '10.0.0.0/33',
    '10.0.0.0/',
    '10.0.0.0/8/8',
    '[10.0.0.1]:80',
    '2001:db8::1/64',
    '::ffff:0:0/90',
    'exam ple.org',
    '256.1.1.1',
  ])('refuses %j with what is wrong', (text) => {
    expect(() => parseRule(text)).toThrow(CoppiceError)
    try {
      parseRule(text)
    } catch (error) {
      expect(error).toMatchObject({ code: 'invalid_argument', reason: 'bad_rule' })
      expect((error as CoppiceError).hint).toBeTruthy()
    }
  })

  it('says what was probably meant', () => {
    expect(() => parseRule('10.1.2.3/8')).toThrow(expect.objectContaining({ hint: 'Did you mean 10.0.0.0/8?' }))
    expect(() => parseRule('https://example.org:8443/x')).toThrow(
      expect.objectContaining({ hint: 'Did you mean example.org:8443?' }),
    )
  })
})

describe('what is led to the supervisor', () => {
  const policy = (...allow: string[]): NetworkPolicy => ({ mode: 'allow', allow })

  it('are the ports of the rules beyond 80 and 443, each once', () => {
    expect(interceptPorts(policy('a.org', 'a.org:443', 'a.org:22', 'b.org:22', '10.0.0.0/8:5432', '10.0.0.1'))).toEqual(
      [22, 5432],
    )
    expect(interceptPorts({ mode: 'none', allow: ['a.org:22'] })).toEqual([])
    expect(interceptPorts(policy(...Array.from({ length: 100 }, (_, at) => `a.org:${1000 + at}`)))).toHaveLength(62)
  })

  it("are the IPv4 ranges of the rules, without overlaps and without what is the sandbox's own", () => {
    expect(interceptRanges(policy('a.org', '10.0.0.0/8', '10.1.0.0/16', '10.0.0.0/8:80', '192.0.2.1', '::/0'))).toEqual(
      ['10.0.0.0/8', '192.0.2.1'],
    )
    expect(interceptRanges(policy('127.0.0.1', '224.0.0.1', '198.18.0.0/16', '0.0.0.0'))).toEqual([])
    expect(interceptRanges({ mode: 'none', allow: ['10.0.0.0/8'] })).toEqual([])
  })

  it('leave loopback, names and multicast out of a rule for everything', () => {
    const ranges = interceptRanges(policy('0.0.0.0/0'))
    const has = (text: string) =>
      ranges.some((range) => {
        const [base = '', length = '32'] = range.split('/')
        const bits = (ip: string) => ip.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
        const size = 2 ** (32 - Number(length))
        return Math.floor(bits(base) / size) === Math.floor(bits(text) / size)
      })
    for (const text of ['1.0.0.0', '126.255.255.255', '128.0.0.0', '198.17.255.255', '198.20.0.0', '223.255.255.255']) {
      expect(has(text), text).toBe(true)
    }
    for (const text of [
      '0.0.0.1',
      '127.0.0.1',
      '127.255.255.255',
      '198.18.0.1',
      '198.19.255.255',
      '224.0.0.1',
      '255.255.255.255',
    ]) {
      expect(has(text), text).toBe(false)
    }
  })
})
