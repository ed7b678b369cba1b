import { describe, expect, it } from 'vitest'
import { parseHost } from '../policy/host.ts'
import { ProxySettings } from './proxy-settings.ts'

function proxyOf(env: NodeJS.ProcessEnv, host: string, port: number, plain = false): string | undefined {
  const parsed = parseHost(host)
  const proxy = parsed && new ProxySettings(env).for(parsed, port, plain)
  return proxy && `${proxy.tls ? 'tls ' : ''}${proxy.host}:${proxy.port}`
}

describe('proxy variables of the gateway', () => {
  it('choose by the kind of connection', () => {
    const env = { HTTP_PROXY: 'http://plain:3128', HTTPS_PROXY: 'https://secure' }
    expect(proxyOf(env, 'a.example', 443)).toBe('tls secure:443')
    expect(proxyOf(env, 'a.example', 22)).toBe('tls secure:443')
    expect(proxyOf(env, 'a.example', 80)).toBe('plain:3128')
    expect(proxyOf(env, 'a.example', 8080, true)).toBe('plain:3128')
    expect(proxyOf({ ALL_PROXY: 'any:1' }, 'a.example', 443)).toBe('any:1')
    expect(proxyOf({ https_proxy: 'lower:1', HTTPS_PROXY: 'upper:1' }, 'a.example', 443)).toBe('lower:1')
    expect(proxyOf({}, 'a.example', 443)).toBeUndefined()
    expect(proxyOf({ HTTPS_PROXY: 'http://[2001:db8::1]:8080' }, 'a.example', 443)).toBe('2001:db8::1:8080')
  })

  it.each([
    ['example.org', 'example.org', true],
    ['example.org', 'a.example.org', true],
    ['.example.org', 'a.example.org', true],
    ['*.example.org', 'a.example.org', true],
    ['example.org', 'badexample.org', false],
    ['example.org:8443', 'example.org', false],
    ['example.org:443', 'example.org', true],
    ['other, EXAMPLE.org', 'example.org', true],
    ['10.0.0.0/8', '10.1.2.3', true],
    ['10.0.0.0/8', '11.1.2.3', false],
    ['10.1.2.3', '10.1.2.3', true],
    ['[2001:db8::1]', '2001:db8::1', true],
    ['*', 'anything.example', true],
    ['', 'example.org', false],
  ])('NO_PROXY=%j and %s: left out is %s', (exceptions, host, out) => {
    expect(proxyOf({ HTTPS_PROXY: 'p:1', NO_PROXY: exceptions }, host, 443) === undefined).toBe(out)
  })

  it('that cannot be read are told and left out', () => {
    const bad: string[] = []
    const settings = new ProxySettings({ HTTPS_PROXY: 'socks5://p:1', HTTP_PROXY: 'http://[' }, (name) =>
      bad.push(name),
    )
    expect(bad.sort()).toEqual(['HTTPS_PROXY', 'HTTP_PROXY'])
    expect(settings.for({ kind: 'name', name: 'a.example' }, 443, false)).toBeUndefined()
  })
})
