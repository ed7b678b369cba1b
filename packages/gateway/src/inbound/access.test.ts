import { describe, expect, it } from 'vitest'
import { containedCookie, PreviewAccess, tokenCookie, withoutTokenCookie, withoutTokenQuery } from './access.ts'

const access = new PreviewAccess('gateway-token')
const token = access.token('sb-1')

describe('tokens of sandboxes', () => {
  it('are 256 bits, the same each time, others for each sandbox and each gateway', () => {
    expect(Buffer.from(token, 'base64url')).toHaveLength(32)
    const others = [access.token('sb-2'), new PreviewAccess('gateway-token2').token('sb-1'), 'gateway-token']
    expect(access.token('sb-1')).toBe(token)
    expect(others).not.toContain(token)
  })

  it('open their own sandbox and no other', () => {
    expect(access.opens('sb-1', ['wrong', token])).toBe(true)
    expect(access.opens('sb-2', [token])).toBe(false)
  })

  it.each([
    [[]],
    [['']],
    [[token.slice(1)]],
    [[`${token}A`]],
    [[token.toLowerCase()]],
    [['gateway-token']],
    [['é'.repeat(22)]],
  ])('%j opens nothing', (presented) => {
    expect(access.opens('sb-1', presented)).toBe(false)
  })

  it("know the gateway's own token, in whatever scheme it comes", () => {
    expect(['Bearer gateway-token', 'bearer  gateway-token '].map((text) => access.isGatewayToken(text))).toEqual([
      true,
      true,
    ])
    expect(['Bearer x', 'gateway-token2', '', 'Basic Og=='].map((text) => access.isGatewayToken(text))).toEqual([
      false,
      false,
      false,
      false,
    ])
  })
})

describe('what is taken out of a request', () => {
  it.each([
    ['/', '/', undefined],
    ['/a?b=1&c', '/a?b=1&c', undefined],
    [`/?coppice-token=T`, '/', 'T'],
    [`/a%20b?x=%2F&coppice-token=T&y=+`, '/a%20b?x=%2F&y=+', 'T'],
    [`/?coppice-token=T&coppice-token=U&&z`, '/?&z', 'T'],
    [`/?coppice-token=`, '/', ''],
    [`/coppice-token=T`, '/coppice-token=T', undefined],
    [`/?a=coppice-token=T`, '/?a=coppice-token=T', undefined],
    [`/?xcoppice-token=T`, '/?xcoppice-token=T', undefined],
  ])('%s becomes %s', (url, path, found) => {
    expect(withoutTokenQuery(url)).toEqual({ path, token: found })
  })

  it.each([
    ['a=1; b="2;', 'a=1; b="2;'],
    ['coppice-token=T', undefined],
    ['a=1; coppice-token=T; b=2', 'a=1; b=2'],
    ['coppice-token=T;a=1', 'a=1'],
    ['a=1; coppice-token=T;coppice-token=U', 'a=1'],
    ['a=coppice-token=T', 'a=coppice-token=T'],
  ])('the cookies %j become %j', (header, left) => {
    expect(withoutTokenCookie(header)).toBe(left)
  })
})

describe('cookies', () => {
  it('of the gateway are for one host, out of reach of pages', () => {
    expect(tokenCookie('T', false)).toBe('coppice-token=T; Path=/; HttpOnly; SameSite=Lax')
    expect(tokenCookie('T', true)).toMatch(/; Secure$/)
  })

  it.each([
    ['a=1', 'a=1'],
    ['a=1; Path=/; HttpOnly', 'a=1; Path=/; HttpOnly'],
    ['a=1; Domain=localhost; Path=/', 'a=1; Path=/'],
    ['a=1;DOMAIN = .gateway.example;domain=x', 'a=1'],
    ['a=1; domain', 'a=1'],
    ['coppice-token=evil; Path=/', undefined],
    [' coppice-token =evil', undefined],
  ])('of a sandbox stay with it: %j', (cookie, contained) => {
    expect(containedCookie(cookie)).toBe(contained)
  })
})
