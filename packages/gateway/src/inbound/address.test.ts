import type { IncomingMessage } from 'node:http'
import { describe, expect, it } from 'vitest'
import { PreviewHosts } from './address.ts'

const hosts = new PreviewHosts(['127.0.0.1', 'localhost', '[::1]', '10.0.0.7', 'Gateway.Example', 'b.gateway.example'])

describe('the address of a preview', () => {
  it.each([
    ['8080-sb-0123456789abcd.localhost:4000', 8080, 'sb-0123456789abcd'],
    ['8080-sb-0123456789abcd.localhost', 8080, 'sb-0123456789abcd'],
    ['1-a.localhost:1', 1, 'a'],
    ['65535-BOX.LocalHost:80', 65_535, 'box'],
    ['80-8080.localhost', 80, '8080'],
    ['3000-my-box.gateway.example:7443', 3000, 'my-box'],
    ['3000-my-box.b.gateway.example', 3000, 'my-box'],
  ])('%s is a port of a sandbox', (host, port, sandbox) => {
    expect(hosts.claims(host)).toBe(true)
    expect(hosts.parse(host)).toEqual({ port, sandbox })
  })

  it.each([
    '0-box.localhost',
    '08080-box.localhost',
    '65536-box.localhost',
    '80-.localhost',
    '80--box.localhost',
    '80-box-.localhost',
    '80-my_box.localhost',
    'x.80-box.localhost',
    '80-box.evil.localhost',
    `80-${'a'.repeat(62)}.localhost`,
    'box.localhost',
    '.localhost',
  ])('%s is none, and not the API either', (host) => {
    expect(hosts.claims(host)).toBe(true)
    expect(hosts.parse(host)).toBeUndefined()
  })

  it.each([
    'localhost',
    'localhost:4000',
    '127.0.0.1:4000',
    '[::1]:4000',
    'gateway.example',
    'b.gateway.example:7443',
    '80-box.10.0.0.7',
    '80-box.localhost.',
    '80-box.localhost.evil.example',
    '80-box.localhost:80:80',
    '80-box.localhost@evil.example',
    'a b.localhost',
    '+80-box.localhost',
    'evil.example',
    '',
  ])('%j is the business of the API, which knows its own names', (host) => {
    expect(hosts.claims(host)).toBe(false)
  })

  it('has the name by which the gateway was called, where sandboxes can have names below it', () => {
    const base = (host: string) => hosts.baseOf({ headers: { host } } as IncomingMessage)
    expect(base('gateway.example:7443')).toBe('gateway.example')
    expect(base('10.0.0.7:7443')).toBe('localhost')
    expect(base('evil.example')).toBe('localhost')
    expect(hosts.baseOf(undefined)).toBe('localhost')
  })
})
