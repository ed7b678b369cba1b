import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { describe, expect, it, onTestFinished } from 'vitest'
import { allow, CANCEL, echo, firstData, local, names, place, world } from '../testing/kit.ts'
import { collect, type PlaceOptions, SANDBOX } from '../testing/place.ts'
import { ForgedSupervisor } from '../testing/supervisor.ts'

describe('a tunnel', () => {
  it('carries bytes both ways, and the end of each direction by itself', async () => {
    const port = await world().tcp((socket) => {
      const heard: Buffer[] = []
      socket.on('data', (chunk) => heard.push(chunk))
      socket.once('end', () => socket.end(`heard ${Buffer.concat(heard)}`))
    })
    const box = await place({ policy: allow(local(port)) })
    const stream = await box.supervisor.tunnel({ host: '127.0.0.1', port, via: 'socks', exec: 'ex-0123456789abcdef' })
    stream.end('a request')
    const { bytes, ended } = await collect(stream)
    expect(bytes.toString()).toBe('heard a request')
    expect(ended).toBe(true)
    await expect.poll(() => box.counts.open).toBe(0)
    expect(box.counts).toEqual({
      open: 0,
      connections: 1,
      denied: 0,
      failed: 0,
      bytesOut: 9,
      bytesIn: 15,
    })
  })

  it('lets a server speak first, and a program stop reading before it stops writing', async () => {
    const heard: Buffer[] = []
    const port = await world().tcp((socket) => {
      socket.end('220 welcome\r\n')
      socket.on('data', (chunk) => heard.push(chunk))
      socket.once('end', () => socket.destroy())
    })
    const box = await place({ policy: allow(local(port)) })
    const stream = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    const { bytes, ended } = await collect(stream)
    expect(bytes.toString()).toBe('220 welcome\r\n')
    expect(ended).toBe(true)
    stream.write('late ')
    stream.end('words')
    await expect.poll(() => Buffer.concat(heard).toString()).toBe('late words')
    await expect.poll(() => box.counts.open).toBe(0)
  })

  it('moves bulk both ways whole', async () => {
    const size = 32 * 1024 * 1024
    const sent = randomBytes(1024 * 1024)
    const port = await world().tcp(echo)
    const box = await place({ policy: allow(local(port)) })
    const stream = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    const hash = createHash('sha256')
    let got = 0
    stream.on('data', (chunk: Buffer) => {
      hash.update(chunk)
      got += chunk.length
    })
    stream.resume()
    const expected = createHash('sha256')
    for (let at = 0; at < size; at += sent.length) {
      expected.update(sent)
      if (!stream.write(sent)) await once(stream, 'drain')
    }
    stream.end()
    await once(stream, 'end')
    expect(got).toBe(size)
    expect(hash.digest('hex')).toBe(expected.digest('hex'))
  })

  it('does not read ahead for a program that does not read, nor for a server that does not', async () => {
    const servers: Socket[] = []
    let written = 0
    const chunk = Buffer.alloc(64 * 1024)
    const port = await world().tcp((socket) => {
      servers.push(socket)
      socket.pause()
      const more = () => {
        while (written < 256 * 1024 * 1024 && socket.write(chunk)) written += chunk.length
      }
      socket.on('drain', more)
      more()
    })
    const box = await place({ policy: allow(local(port)) })
    const stalled = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    // Kernel buffers, the session's window and what waits on the connection; not the 256 MiB that are offered.
    const settled = async (read: () => number) => {
      let before = -1
      await expect
        .poll(
          () => {
            const same = read() === before
            before = read()
            return same && before > 0
          },
          { interval: 200 },
        )
        .toBe(true)
      return read()
    }
    expect(await settled(() => box.counts.bytesIn)).toBeLessThan(4 * 1024 * 1024)
    let offered = 0
    while (stalled.write(chunk) && offered < 256 * 1024 * 1024) offered += chunk.length
    expect(await settled(() => box.counts.bytesOut)).toBeLessThan(16 * 1024 * 1024)
    // And both go on where they were.
    servers[0]?.resume()
    expect((await firstData(stalled)).length).toBeGreaterThan(0)
    stalled.close(CANCEL)
  })

  it('is reset outside when the program resets it, and inside when the server does', async () => {
    const sockets: Socket[] = []
    const errors: string[] = []
    const port = await world().tcp((socket) => {
      sockets.push(socket)
      socket.on('error', (error: NodeJS.ErrnoException) => errors.push(String(error.code)))
      socket.write('hello')
    })
    const box = await place({ policy: allow(local(port)) })
    const first = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    await firstData(first)
    first.close(CANCEL)
    await expect.poll(() => errors).toEqual(['ECONNRESET'])

    const second = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    await firstData(second)
    const end = collect(second)
    sockets[1]?.resetAndDestroy()
    expect((await end).ended).toBe(false)
    await expect.poll(() => box.counts.open).toBe(0)
    const records = await box.records()
    expect(records.map(({ end }) => end)).toEqual(['reset', 'reset'])
  })

  it('is never cut short unseen: a lost session resets what was open, and the next one works', async () => {
    const errors: string[] = []
    const here = world()
    const port = await here.tcp((socket) => {
      socket.on('error', (error: NodeJS.ErrnoException) => errors.push(String(error.code)))
      echo(socket)
    })
    const box = await place({ policy: allow(local(port)) })
    const stream = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    stream.write('x')
    await firstData(stream)
    box.supervisor.breakOff()
    await expect.poll(() => errors).toEqual(['ECONNRESET'])
    await expect.poll(() => box.counts.open).toBe(0)
    const [record] = await box.records()
    expect(record).toMatchObject({ end: 'session_lost', verdict: 'allowed' })

    const next = await ForgedSupervisor.start()
    onTestFinished(() => next.close())
    box.egress.attach(SANDBOX, next.link)
    await next.attached()
    const again = await next.tunnel({ host: '127.0.0.1', port })
    again.write('y')
    expect(await firstData(again)).toBe('y')
  })

  it('answers for what is not there: nothing listens, no such name, no answer, broken names', async () => {
    const dns = await names({ 'here.example': ['127.0.0.1'], 'silent.example': 'silent', 'broken.example': 'broken' })
    const gone = world()
    const port = await gone.tcp(() => {})
    gone.close()
    const box = await place({
      policy: { mode: 'public', allow: ['127.0.0.1'] },
      config: { resolvers: [dns.address], connectMs: 300 },
    })
    expect(await box.supervisor.refusal({ host: '127.0.0.1', port })).toMatchObject({ kind: 'refused' })
    expect(await box.supervisor.refusal({ host: 'here.example', port })).toMatchObject({ kind: 'refused' })
    expect(await box.supervisor.refusal({ host: 'nowhere.example', port })).toMatchObject({ kind: 'no_such_name' })
    expect(await box.supervisor.refusal({ host: 'broken.example', port })).toMatchObject({ kind: 'unreachable' })
    expect(await box.supervisor.refusal({ host: 'silent.example', port })).toMatchObject({ kind: 'timeout' })
    expect(box.counts).toMatchObject({ failed: 5, denied: 0, connections: 0, open: 0 })
  })
})

describe('first bytes on a connection to a name', () => {
  async function named(port: number, config: PlaceOptions['config'] = {}) {
    const dns = await names({ 'good.example': ['127.0.0.1'] })
    return place({
      policy: allow(`good.example:${port}`, local(port)),
      config: { resolvers: [dns.address], ...config },
    })
  }

  it('must be TLS for that name, HTTP for that name, or something else', async () => {
    const heard: string[] = []
    const port = await world().tcp((socket) => socket.on('data', (chunk) => heard.push(chunk.toString('latin1'))))
    const box = await named(port)
    const say = async (bytes: string | Buffer) => {
      const stream = await box.supervisor.tunnel({ host: 'good.example', port })
      stream.write(bytes)
      return stream
    }
    const wrong = await say('GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n')
    const { bytes, ended } = await collect(wrong)
    expect(ended).toBe(true)
    expect(bytes.toString()).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n[\s\S]*X-Coppice-Rule: host_mismatch/)
    wrong.end()
    const right = await say('\r\nGET / HTTP/1.1\r\nHost: good.example\r\n\r\n')
    const other = await say('EHLO me\r\n')
    await expect.poll(() => heard.join('')).toMatch(/good\.example[\s\S]*EHLO me|EHLO me[\s\S]*good\.example/)
    expect(heard.join('')).not.toContain('evil')
    right.close(CANCEL)
    other.close(CANCEL)
    await expect.poll(() => box.counts.open).toBe(0)
    expect(box.counts).toMatchObject({ denied: 1, connections: 2 })
    const denied = (await box.records()).filter(({ verdict }) => verdict === 'denied')
    expect(denied).toMatchObject([{ rule: 'host_mismatch', end: 'refused', bytesOut: 0, name: 'good.example' }])
  })

  it('of TLS for another name go no further, and the client is told by an alert', async () => {
    let heard = 0
    const port = await world().tcp((socket) =>
      socket.on('data', (chunk) => {
        heard += chunk.length
      }),
    )
    const box = await named(port)
    const handshake = async (servername: string) => {
      const stream = await box.supervisor.tunnel({ host: 'good.example', port })
      const client = connectTls({ socket: stream, servername })
      return once(client, 'error') as Promise<[NodeJS.ErrnoException]>
    }
    const [error] = await handshake('evil.example')
    expect(String(error.code)).toContain('ALERT_ACCESS_DENIED')
    expect(heard).toBe(0)
    await expect.poll(async () => (await box.records())[0]?.rule).toBe('sni_mismatch')
    void handshake('good.example')
    await expect.poll(() => heard).toBeGreaterThan(100)
  })

  it('that do not come to an end are cut in time; a silent program is not', async () => {
    const port = await world().tcp(() => {})
    const box = await named(port, { firstBytesMs: 100 })
    const slow = await box.supervisor.tunnel({ host: 'good.example', port })
    const silent = await box.supervisor.tunnel({ host: 'good.example', port })
    slow.write('GET / HT')
    expect((await collect(slow)).bytes.toString()).toContain('X-Coppice-Rule: first_bytes')
    slow.end()
    await expect.poll(() => box.counts.open).toBe(1)
    expect(silent.destroyed).toBe(false)
  })

  it('are not looked at on a connection to an address', async () => {
    const heard: string[] = []
    const port = await world().tcp((socket) => socket.on('data', (chunk) => heard.push(chunk.toString())))
    const box = await named(port)
    const stream = await box.supervisor.tunnel({ host: '127.0.0.1', port })
    stream.write('GET / HTTP/1.1\r\nHost: any.example\r\n\r\n')
    await expect.poll(() => heard.join('')).toContain('any.example')
  })
})
