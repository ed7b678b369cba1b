import type { IncomingMessage } from 'node:http'
import { describe, expect, it } from 'vitest'
import { Guard } from './guard.ts'

const guard = new Guard('secret-token', ['127.0.0.1', 'localhost', '[::1]'])
const request = (headers: Record<string, string>) => ({ headers }) as unknown as IncomingMessage
const good = { host: '127.0.0.1:4000', authorization: 'Bearer secret-token' }

describe('Guard', () => {
  it('lets a client with the token in, under each of its own names', () => {
    for (const host of ['127.0.0.1:4000', 'localhost', 'LOCALHOST:1', '[::1]:4000']) {
      expect(() => guard.check(request({ ...good, host }), false)).not.toThrow()
    }
  })

  it.each(['evil.example', '127.0.0.1.evil.example:80', 'localhost:80:80', '', '[::2]:80'])(
    'refuses the name %j',
    (host) => {
      expect(() => guard.check(request({ ...good, host }), true)).toThrow(
        expect.objectContaining({ reason: 'foreign_host' }),
      )
    },
  )

  it.each(['https://evil.example', 'null', 'file://'])('refuses pages of the origin %j', (origin) => {
    expect(() => guard.check(request({ ...good, origin }), false)).toThrow(
      expect.objectContaining({ reason: 'foreign_origin' }),
    )
  })

  it.each([undefined, '', 'Bearer', 'Bearer wrong', 'Basic secret-token', 'secret-token'])(
    'refuses the authorization %j',
    (authorization) => {
      const headers: Record<string, string> = { host: good.host }
      if (authorization !== undefined) headers.authorization = authorization
      expect(() => guard.check(request(headers), false)).toThrow(expect.objectContaining({ code: 'unauthenticated' }))
    },
  )

  it('asks for no token where nothing is told', () => {
    expect(() => guard.check(request({ host: good.host }), true)).not.toThrow()
  })
})
