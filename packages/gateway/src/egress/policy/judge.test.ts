import type { NetworkPolicy } from '@coppice/protocol'
import { describe, expect, it } from 'vitest'
import { type Address, parseAddress } from './address.ts'
import { parseHost } from './host.ts'
import { Judge, type OwnPlace } from './judge.ts'

const OWN = new Set(['192.0.2.10', '10.9.9.9', '2001:db8::10', 'fe80::1'])
const own: OwnPlace = { has: ({ text }) => OWN.has(text), ports: () => [4600] }

const judge = (mode: NetworkPolicy['mode'], ...allow: string[]) => new Judge({ mode, allow }, own)

function address(text: string): Address {
  const parsed = parseAddress(text)
  if (!parsed) throw new Error(text)
  return parsed
}

/** The rule that decided about a host as programs write it; `-` in front: refused. */
function verdict(by: Judge, host: string, port: number, resolved?: string): string {
  const parsed = parseHost(host)
  if (!parsed) return 'bad'
  const decision = resolved ? by.connection(parsed, address(resolved), port) : by.host(parsed, port)
  return `${decision.ok ? '' : '-'}${decision.rule}`
}

describe('public', () => {
  const by = judge('public')

  it.each([
    ['8.8.8.8', 'public'],
    ['example.org', 'public'],
    ['203.0.113.7', 'public'],
    ['198.51.100.7', 'public'],
    ['2001:db8::1', 'public'],
    ['2606:4700::1111', 'public'],
    ['127.0.0.1', '-loopback'],
    ['127.255.255.254', '-loopback'],
    ['::1', '-loopback'],
    ['localhost', '-loopback'],
    ['LOCALHOST.', '-loopback'],
    ['a.b.localhost', '-loopback'],
    ['10.0.0.1', '-private'],
    ['172.16.0.1', '-private'],
    ['172.31.255.255', '-private'],
    ['172.32.0.1', 'public'],
    ['192.168.1.1', '-private'],
    ['100.64.0.1', '-private'],
    ['100.128.0.1', 'public'],
    ['198.18.0.1', '-private'],
    ['198.19.255.255', '-private'],
    ['fc00::1', '-private'],
    ['fdff::1', '-private'],
    ['fec0::1', '-private'],
    ['64:ff9b:1::a00:1', '-private'],
    ['169.254.0.1', '-link_local'],
    ['fe80::2', '-link_local'],
    ['febf::1', '-link_local'],
    ['169.254.169.254', '-metadata'],
    ['169.254.170.2', '-metadata'],
    ['100.100.100.200', '-metadata'],
    ['168.63.129.16', '-metadata'],
    ['192.0.0.192', '-metadata'],
    ['fd00:ec2::254', '-metadata'],
    ['0.0.0.0', '-unspecified'],
    ['0.1.2.3', '-unspecified'],
    ['::', '-unspecified'],
    ['224.0.0.1', '-multicast'],
    ['239.255.255.255', '-multicast'],
    ['ff02::1', '-multicast'],
    ['255.255.255.255', '-broadcast'],
    ['240.0.0.1', '-reserved'],
    ['192.0.0.8', '-reserved'],
    ['192.88.99.1', '-reserved'],
    ['100::1', '-reserved'],
    ['4000::1', '-reserved'],
    ['2001::1', '-teredo'],
    ['2001:0:4136:e378:8000:63bf:3fff:fdd2', '-teredo'],
    // The gateway's own addresses are public ones here, and closed all the same.
    ['192.0.2.10', '-gateway_address'],
    ['2001:db8::10', '-gateway_address'],
  ])('%s: %s', (host, expected) => {
    expect(verdict(by, host, 443)).toBe(expected)
  })

  it.each([
    ['2130706433', '-loopback'],
    ['0x7f000001', '-loopback'],
    ['0x7F.1', '-loopback'],
    ['017700000001', '-loopback'],
    ['127.1', '-loopback'],
    ['127.0.1', '-loopback'],
    ['0177.0.0.01', '-loopback'],
    ['0', '-unspecified'],
    ['0x', '-unspecified'],
    ['127.0.0.1.', '-loopback'],
    ['１２７.０.０.１', '-loopback'],
    ['127。0。0。1', '-loopback'],
    ['2852039166', '-metadata'],
    ['0xa9fea9fe', '-metadata'],
    ['0xA9.0xFE.0xA9.0xFE', '-metadata'],
    ['0251.0376.0251.0376', '-metadata'],
    ['169.254.43518', '-metadata'],
    ['::ffff:169.254.169.254', '-metadata'],
    ['[::ffff:a9fe:a9fe]', '-metadata'],
    ['0:0:0:0:0:ffff:7f00:1', '-loopback'],
    ['::127.0.0.1', '-loopback'],
    ['::a9fe:a9fe', '-metadata'],
    ['::ffff:0:169.254.169.254', '-metadata'],
    ['64:ff9b::169.254.169.254', '-metadata'],
    ['64:ff9b::a00:1', '-private'],
    ['64:ff9b::8.8.8.8', 'public'],
    ['2002:a9fe:a9fe::1', '-metadata'],
    ['2002:7f00:1::', '-loopback'],
    ['2002:0808:0808::1', 'public'],
    ['2606:4700::5efe:10.0.0.1', '-private'],
    ['2606:4700::200:5efe:10.0.0.1', '-private'],
    ['64:ff9b::192.0.2.10', '-gateway_address'],
  ])('the form %s is judged as the address that it is: %s', (host, expected) => {
    expect(verdict(by, host, 80)).toBe(expected)
  })

  it.each([
    '256.1.1.1',
    '1.2.3.4.5',
    'a.0x7f',
    'foo.1',
    '127.0.0.1 ',
    'a b',
    'a/b',
    'a@b',
    'a:b',
    '%31.2.3.4',
    '',
    '.',
    'a..b',
    '-a.b',
    'a*.b',
    '[127.0.0.1]',
    'fe80::1%lo',
    'x\n.org',
    `${'a'.repeat(64)}.org`,
    'a.'.repeat(130),
    '٣.example',
    'xn--\u0000',
  ])('%j is neither a name nor an address', (host) => {
    expect(verdict(by, host, 80)).toBe('bad')
  })

  it('lets any port but 25 through, and that one by a rule', () => {
    for (const port of [1, 22, 587, 65_535]) expect(verdict(by, 'example.org', port)).toBe('public')
    expect(verdict(by, 'example.org', 25)).toBe('-port_25')
    expect(verdict(by, '8.8.8.8', 25)).toBe('-port_25')
    const mail = judge('public', 'mx.example.org:25', '203.0.113.0/24')
    expect(verdict(mail, 'mx.example.org', 25)).toBe('mx.example.org:25')
    expect(verdict(mail, 'other.example.org', 25)).toBe('-port_25')
    expect(verdict(mail, '203.0.113.1', 25)).toBe('203.0.113.0/24')
  })

  it('judges what a name resolved to as well', () => {
    expect(verdict(by, 'rebind.example', 443, '203.0.113.1')).toBe('public')
    expect(verdict(by, 'rebind.example', 443, '127.0.0.1')).toBe('-loopback')
    expect(verdict(by, 'rebind.example', 443, '10.0.0.1')).toBe('-private')
    expect(verdict(by, 'metadata.example', 80, '::ffff:169.254.169.254')).toBe('-metadata')
    expect(verdict(by, 'me.example', 80, '192.0.2.10')).toBe('-gateway_address')
  })
})

describe('rules for addresses', () => {
  it('open a private place by any range, on the port that they name', () => {
    const by = judge('public', '10.0.0.0/8:8080', 'fd00::/8')
    expect(verdict(by, '10.1.2.3', 8080)).toBe('10.0.0.0/8:8080')
    expect(verdict(by, '10.1.2.3', 8081)).toBe('-private')
    expect(verdict(by, 'fd12::1', 1)).toBe('fd00::/8')
    expect(verdict(by, 'db.example', 8080, '10.1.2.3')).toBe('10.0.0.0/8:8080')
  })

  it('open loopback, link-local, metadata and own addresses by exactly one address only', () => {
    const wide = judge('allow', '0.0.0.0/0', '::/0')
    for (const text of [
      '127.0.0.1',
      '169.254.0.1',
      '169.254.169.254',
      '192.0.2.10',
      '10.9.9.9',
      '::1',
      'fe80::2',
      'fd00:ec2::254',
    ]) {
      expect(verdict(wide, text, 80), text).toMatch(/^-/)
      const exact = judge('allow', text)
      expect(verdict(exact, text, 80), text).toBe(text)
    }
    expect(verdict(wide, '10.9.9.8', 80)).toBe('0.0.0.0/0')
    expect(verdict(judge('allow', '127.0.0.0/31'), '127.0.0.1', 80)).toBe('-loopback')
  })

  it('never open what is nobody, everybody, or reserved', () => {
    for (const text of [
      '0.0.0.0',
      '224.0.0.1',
      '255.255.255.255',
      '240.0.0.1',
      '::',
      'ff02::1',
      '4000::1',
      '2001::1',
    ]) {
      expect(verdict(judge('allow', text, '0.0.0.0/0', '::/0'), text, 80), text).toMatch(/^-/)
    }
  })

  it("never open the gateway's own API on its own addresses", () => {
    for (const text of ['127.0.0.1', '127.0.0.2', '::1', '192.0.2.10', '10.9.9.9', '2001:db8::10']) {
      const by = judge('allow', text)
      expect(verdict(by, text, 4600), text).toBe('-gateway_api')
      expect(verdict(by, text, 4601), text).toBe(text)
      expect(verdict(judge('public', text, 'me.example:4600'), 'me.example', 4600, text)).toBe('-gateway_api')
    }
  })

  it('open an IPv4 place in an IPv6 address only together with the IPv6 address', () => {
    expect(verdict(judge('allow', '10.0.0.0/8'), '64:ff9b::a00:1', 80)).toBe('-not_listed')
    expect(verdict(judge('allow', '64:ff9b::/96'), '64:ff9b::a00:1', 80)).toBe('-private')
    expect(verdict(judge('allow', '10.0.0.0/8', '64:ff9b::/96'), '64:ff9b::a00:1', 80)).toBe('64:ff9b::/96')
  })
})

describe('allow', () => {
  const by = judge(
    'allow',
    'api.github.com',
    '*.example.org',
    'db.example.net:5432',
    '*.svc.example:8443',
    '203.0.113.0/24',
    '[2001:db8::7]:53',
  )

  it.each([
    ['api.github.com', 443, 'api.github.com'],
    ['API.GitHub.com.', 80, 'api.github.com'],
    ['api.github.com', 22, '-not_listed'],
    ['github.com', 443, '-not_listed'],
    ['x.api.github.com', 443, '-not_listed'],
    ['apixgithub.com', 443, '-not_listed'],
    ['a.example.org', 443, '*.example.org'],
    ['a.b.example.org', 80, '*.example.org'],
    ['example.org', 443, '-not_listed'],
    ['badexample.org', 443, '-not_listed'],
    ['a.example.org', 8080, '-not_listed'],
    ['db.example.net', 5432, 'db.example.net:5432'],
    ['db.example.net', 443, '-not_listed'],
    ['a.svc.example', 8443, '*.svc.example:8443'],
    ['a.svc.example', 443, '-not_listed'],
    ['203.0.113.5', 1, '203.0.113.0/24'],
    ['203.0.114.5', 1, '-not_listed'],
    ['8.8.8.8', 443, '-not_listed'],
    ['2001:db8::7', 53, '[2001:db8::7]:53'],
    ['2001:db8::7', 54, '-not_listed'],
    ['3405803781', 443, '203.0.113.0/24'],
  ])('%s on %i: %s', (host, port, expected) => {
    expect(verdict(by, host, port)).toBe(expected)
  })

  it('lets a name be looked up that is allowed on any port, and no other', () => {
    expect(by.name('db.example.net', null)).toMatchObject({ ok: true })
    expect(by.name('a.svc.example', null)).toMatchObject({ ok: true })
    expect(by.name('secret-data.evil.example', null)).toMatchObject({ ok: false, rule: 'not_listed' })
  })

  it('lets an allowed name lead to a public place, and to another only where that is opened too', () => {
    expect(verdict(by, 'api.github.com', 443, '203.0.113.9')).toBe('api.github.com')
    expect(verdict(by, 'api.github.com', 443, '10.0.0.1')).toBe('-private')
    expect(verdict(judge('allow', 'api.github.com', '10.0.0.0/8'), 'api.github.com', 443, '10.0.0.1')).toBe(
      'api.github.com',
    )
    // An address that is opened does not open the names that lead to it.
    expect(verdict(by, 'other.example', 443, '203.0.113.9')).toBe('-not_listed')
  })

  it('takes names in any script, as their ASCII form', () => {
    const idna = judge('allow', 'bücher.example')
    expect(verdict(idna, 'xn--bcher-kva.example', 443)).toBe('xn--bcher-kva.example')
    expect(verdict(idna, 'BÜCHER。example', 443)).toBe('xn--bcher-kva.example')
    expect(verdict(idna, 'bucher.example', 443)).toBe('-not_listed')
  })
})

describe('none and audit', () => {
  it('none lets nothing through, whatever is listed', () => {
    const by = judge('none', 'example.org', '203.0.113.0/24')
    expect(verdict(by, 'example.org', 443)).toBe('-none')
    expect(verdict(by, '203.0.113.1', 443)).toBe('-none')
    expect(by.name('example.org', null).ok).toBe(false)
  })

  it('audit lets through what is public, and says what the list alone would have refused', () => {
    const by = judge('audit', 'example.org')
    const of = (host: string, resolved: string) => {
      const parsed = parseHost(host)
      return parsed && by.connection(parsed, address(resolved), 443)
    }
    expect(of('example.org', '203.0.113.1')).toEqual({ ok: true, verdict: 'allowed', rule: 'example.org' })
    expect(of('other.example', '203.0.113.1')).toEqual({ ok: true, verdict: 'audit', rule: 'public' })
    expect(of('203.0.113.1', '203.0.113.1')).toEqual({ ok: true, verdict: 'audit', rule: 'public' })
    expect(of('other.example', '10.0.0.1')).toMatchObject({ ok: false, rule: 'private' })
    expect(verdict(by, 'other.example', 25)).toBe('-port_25')
  })
})
