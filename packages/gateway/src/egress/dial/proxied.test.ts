import type { ServerHttp2Stream } from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { allow, local, names, place, raw, world } from '../testing/kit.ts'
import { collect } from '../testing/place.ts'
import type { World } from '../testing/servers.ts'

describe('an upstream proxy of the gateway', () => {
  interface ProxyBehaviour {
    connect?: (target: string) => number
  }

  /** A proxy of the operator, on loopback. */
  async function upstreamProxy(here: World, { connect = () => 200 }: ProxyBehaviour = {}) {
    const asked: string[] = []
    const authorizations: (string | undefined)[] = []
    const port = await here.http(
      (request, response) => {
        asked.push(`${request.method} ${request.url}`)
        authorizations.push(request.headers['proxy-authorization'])
        response.end(`in full: ${request.headers.host}`)
      },
      (server) =>
        server.on('connect', (request, socket: Socket, head) => {
          asked.push(`CONNECT ${request.url}`)
          authorizations.push(request.headers['proxy-authorization'])
          const status = connect(request.url ?? '')
          if (status !== 200) {
            socket.end(`HTTP/1.1 ${status} No\r\n\r\n`)
            return
          }
          const [, to = '0'] = (request.url ?? '').split(':')
          const outside = connectTcp(Number(to), '127.0.0.1')
          outside.on('error', () => socket.destroy())
          socket.on('error', () => outside.destroy())
          socket.write('HTTP/1.1 200 Connected\r\nX: y\r\n\r\n')
          outside.write(head)
          socket.pipe(outside).pipe(socket)
        }),
    )
    return {
      asked,
      authorizations,
      env: { HTTP_PROXY: `http://me:pass%21@127.0.0.1:${port}`, https_proxy: `http://127.0.0.1:${port}` },
    }
  }

  it('is what tunnels and requests go through, by name, judged as without it', async () => {
    const here = world()
    const port = await here.tcp((socket) => socket.end('server first'))
    const web = await here.http((request, response) => response.end(`web ${request.headers.host}`))
    const dns = await names({ 'inside.example': ['10.0.0.1'] })
    const proxy = await upstreamProxy(here)
    const box = await place({
      policy: allow(`far.example:${port}`, `web.example:${web}`, `inside.example:${port}`),
      env: proxy.env,
      config: { resolvers: [dns.address] },
    })
    const stream = await box.supervisor.tunnel({ host: 'far.example', port })
    expect((await collect(stream)).bytes.toString()).toBe('server first')
    stream.end()
    expect(await raw(box, `GET http://web.example:${web}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)).toContain(
      `web web.example:${web}`,
    )
    expect(proxy.asked).toEqual([`CONNECT far.example:${port}`, `CONNECT web.example:${web}`])
    expect(proxy.authorizations).toEqual([undefined, `Basic ${Buffer.from('me:pass!').toString('base64')}`])
    expect(await box.supervisor.refusal({ host: 'evil.example', port })).toMatchObject({ rule: 'not_listed' })
    // What resolves here to a closed place is refused here, whatever the proxy would do.
    expect(await box.supervisor.refusal({ host: 'inside.example', port })).toMatchObject({ rule: 'private' })
    expect(await box.supervisor.name('far.example')).toMatchObject({ outcome: 'exists' })
    expect(dns.asked).not.toContain('evil.example')
    expect((await box.records())[0]).toMatchObject({ name: 'far.example', address: null, verdict: 'allowed' })
  })

  it('gets plain requests in full when it refuses CONNECT for them, and is remembered to', async () => {
    const here = world()
    const proxy = await upstreamProxy(here, { connect: () => 403 })
    const box = await place({ policy: allow('web.example'), env: proxy.env })
    const get = (more = '') => `POST http://web.example/x?y HTTP/1.1\r\nHost: z\r\nContent-Length: 2\r\n${more}\r\nhi`
    const answer = await raw(box, get() + get('Connection: close\r\n'))
    expect(answer.match(/in full: web\.example/g)).toHaveLength(2)
    expect(proxy.asked).toEqual([
      'CONNECT web.example:80',
      'POST http://web.example/x?y',
      'POST http://web.example/x?y',
    ])
    expect(await box.supervisor.refusal({ host: 'web.example', port: 443 })).toMatchObject({ kind: 'unreachable' })
    expect(box.counts).toMatchObject({ failed: 1, connections: 1 })
  })

  it('is left out for what NO_PROXY names, and its absence is told', async () => {
    const here = world()
    const port = await here.tcp((socket) => socket.end('direct'))
    const proxy = await upstreamProxy(here)
    const box = await place({
      policy: allow(local(port), 'far.example'),
      env: { ...proxy.env, NO_PROXY: 'other.example, 127.0.0.0/8', HTTPS_PROXY: 'http://127.0.0.1:1', https_proxy: '' },
    })
    const stream: ServerHttp2Stream = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    expect((await collect(stream)).bytes.toString()).toBe('direct')
    stream.end()
    expect(proxy.asked).toEqual([])
    const refusal = await box.supervisor.refusal({ host: 'far.example', port: 443 })
    expect(refusal.message).toContain('upstream proxy')
  })
})
