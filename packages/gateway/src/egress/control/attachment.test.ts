import { once } from 'node:events'
import type { ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { MAX_EGRESS_LINE_BYTES } from '@coppice/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import { NameServer } from '../testing/name-server.ts'
import { collect, Place, type PlaceOptions, SANDBOX } from '../testing/place.ts'
import { World } from '../testing/servers.ts'
import { ForgedSupervisor } from '../testing/supervisor.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

function closed(stream: ServerHttp2Stream | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (!stream || stream.destroyed) resolve()
    else stream.once('close', resolve)
  })
}

async function setUp(options: PlaceOptions = {}) {
  const world = new World()
  closing.push(() => world.close())
  const sockets: Socket[] = []
  const port = await world.tcp((socket) => {
    sockets.push(socket)
    socket.on('data', (chunk) => socket.write(chunk))
    socket.once('end', () => socket.end())
  })
  const box = await Place.start({ policy: { mode: 'allow', allow: [`127.0.0.1:${port}`] }, ...options })
  closing.push(() => box.close())
  const target = { via: 'connect', host: '127.0.0.1', port } as const
  /** The gateway still serves this sandbox. */
  const works = async () => {
    const stream = await box.supervisor.tunnel(target)
    stream.write('ping')
    stream.resume()
    const [chunk] = (await once(stream, 'data')) as [Buffer]
    expect(chunk.toString()).toBe('ping')
    stream.close(8)
  }
  return { world, sockets, port, box, target, works }
}

describe('the control stream', () => {
  it('tells first what to listen on, and again when it changes', async () => {
    const { box } = await setUp()
    await box.supervisor.told(({ t }) => t === 'network')
    expect(box.supervisor.tells[0]).toEqual({ t: 'network', network: { proxyPort: 1, dnsPort: null, intercepts: [] } })
    const network = { proxyPort: 1, dnsPort: 2, intercepts: [{ port: 22, at: 9 }] }
    box.egress.setNetwork(SANDBOX, network)
    expect(await box.supervisor.told((tell) => tell.t === 'network' && tell.network.dnsPort === 2)).toEqual({
      t: 'network',
      network,
    })
  })

  it('is not opened again where the supervisor does not know it, and is where it ended by itself', async () => {
    const { box } = await setUp()
    box.supervisor.control?.close(8)
    await expect.poll(() => box.supervisor.controls).toBe(2)

    const old = await ForgedSupervisor.start()
    closing.push(() => old.close())
    old.controlStatus = 404
    box.egress.attach(SANDBOX, old.link)
    await old.attached()
    await closed(old.control)
    expect(old.link.alive).toBe(true)
    expect(old.controls).toBe(1)
  })

  it('is cut when it is not lines of JSON of a bounded length', async () => {
    for (const bytes of ['no json\n', `${'x'.repeat(MAX_EGRESS_LINE_BYTES + 1)}`, '{"t":"open"\n', '\xff\xfe\n']) {
      const { box } = await setUp()
      const { control } = box.supervisor
      box.supervisor.raw(bytes)
      await closed(control)
      expect(box.logged, bytes.slice(0, 20)).toHaveLength(1)
      expect(box.supervisor.link.alive).toBe(true)
    }
  })

  it('takes a line however it is cut', async () => {
    const { box, works } = await setUp()
    const line = `${JSON.stringify({ t: 'open', id: 77, via: 'connect', host: '127.0.0.1', port: 1, exec: null })}\n`
    for (const letter of line) {
      box.supervisor.raw(letter)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await box.supervisor.told((tell) => tell.t === 'refused' && tell.id === 77)).toMatchObject({ id: 77 })
    await works()
  })

  it.each([
    [{ t: 'open', id: -1 }],
    [{ t: 'open', id: 0 }],
    [{ t: 'open', id: 1.5 }],
    [{ t: 'open', id: 2 ** 60 }],
    [{ t: 'open', id: '1' }],
    [{ t: 'cancel', id: 12345 }],
    [{ t: 'name', id: null, name: 'x' }],
    [{ t: 'what', id: 1 }],
    [{}],
    [[]],
    [null],
    ['open'],
    [{ __proto__: { t: 'open' }, constructor: 1 }],
  ])('passes over %j and goes on', async (ask) => {
    const { box, works } = await setUp()
    box.supervisor.raw(`${JSON.stringify(ask)}\n`)
    await works()
  })

  it.each([
    [{ t: 'open', id: 9, via: 'carrier pigeon', host: 'x', port: 1, exec: null }],
    [{ t: 'open', id: 9, via: 'connect', host: 'x'.repeat(2000), port: 1, exec: null }],
    [{ t: 'open', id: 9, via: 'connect', host: 'x', port: 65_536, exec: null }],
    [{ t: 'open', id: 9, via: 'connect', host: 'x', port: 0, exec: null }],
    [{ t: 'open', id: 9, via: 'connect', host: '', port: 80, exec: null }],
    [{ t: 'open', id: 9, via: 'transparent', host: 'a b', port: 80, exec: null }],
    [{ t: 'open', id: 9 }],
    [{ t: 'name', id: 9, name: 'x'.repeat(2000) }],
    [{ t: 'name', id: 9 }],
  ])('answers %j with a refusal', async (ask) => {
    const { box } = await setUp()
    box.supervisor.send(ask)
    const told = await box.supervisor.told((tell) => tell.t !== 'network' && tell.id === 9)
    expect(told.t === 'refused' ? told.error.rule : told.t === 'name' ? told.outcome : '').toMatch(
      /bad_name|no_such_name/,
    )
  })

  it('is cut when an id is used that is in use', async () => {
    const { box, target } = await setUp()
    const stream = await box.supervisor.tunnel({ ...target, id: 5 })
    const { control } = box.supervisor
    box.supervisor.send({ t: 'open', id: 5, ...target, exec: null })
    await closed(control)
    expect(box.logged).toHaveLength(1)
    // What stands is not the control stream's.
    stream.write('x')
    stream.resume()
    await once(stream, 'data')
  })

  it('keeps exec ids only where they have the shape of one', async () => {
    const { box, target } = await setUp()
    for (const exec of ['ex-0123456789abcdef', '../../x', 'ex-{"a":1}', '', null]) {
      const stream = await box.supervisor.tunnel({ ...target, exec })
      stream.close(8)
    }
    await expect.poll(() => box.counts.open).toBe(0)
    const execs = (await box.records()).map(({ exec }) => exec)
    expect(execs.sort()).toEqual(['ex-0123456789abcdef', null, null, null, null])
  })
})

describe('a supervisor that does not play', () => {
  it('answers tunnels with 404, or with nothing: what was dialled is closed', async () => {
    const { box, world, target, works } = await setUp({ config: { firstBytesMs: 200 } })
    box.supervisor.onTunnel = (_id, stream) => stream.respond({ ':status': 404 }, { endStream: true })
    box.supervisor.send({ t: 'open', id: 1001, ...target, exec: null })
    box.supervisor.send({ t: 'open', id: 1002, ...target, via: 'http', host: '', port: 0, exec: null })
    await expect.poll(() => box.counts).toMatchObject({ open: 0, connections: 1 })
    box.supervisor.onTunnel = () => {}
    box.supervisor.send({ t: 'open', id: 1003, ...target, exec: null })
    box.supervisor.send({ t: 'open', id: 1004, ...target, via: 'http', host: '', port: 0, exec: null })
    await expect.poll(() => box.counts).toMatchObject({ open: 2, connections: 2 })
    await expect.poll(() => box.counts.open).toBe(0)
    await expect.poll(() => world.open).toBe(0)
    box.supervisor.onTunnel = (_id, stream) => stream.close(2)
    box.supervisor.send({ t: 'open', id: 1005, ...target, exec: null })
    await expect.poll(() => box.counts).toMatchObject({ open: 0, connections: 3 })
    box.supervisor.onTunnel = undefined
    await works()
  })

  it('cancels what is being made, over and over', async () => {
    const dns = await NameServer.start({ 'slow.example': 'silent' })
    closing.push(() => dns.close())
    const { box, target, works } = await setUp({
      policy: { mode: 'public', allow: ['127.0.0.1'] },
      config: { resolvers: [dns.address] },
    })
    for (let id = 1001; id < 1201; id += 1) {
      box.supervisor.send({ t: 'open', id, ...target, host: 'slow.example', exec: null })
      box.supervisor.send({ t: 'cancel', id })
      box.supervisor.send({ t: 'cancel', id })
    }
    await works()
    await expect.poll(() => box.counts.open).toBe(0)
    const cancelled = (await box.records()).filter(({ end }) => end === 'cancelled')
    expect(cancelled.reduce((sum, { times = 1 }) => sum + times, 0)).toBe(200)
  })

  it('asks for 10,000 connections at once: few lines of log, no memory, and the next one works', async () => {
    const { box, works } = await setUp()
    const before = process.memoryUsage().heapUsed
    for (let id = 1001; id <= 11_000; id += 1) {
      box.supervisor.send({ t: 'open', id, via: 'connect', host: 'evil.example', port: 443, exec: null })
    }
    await box.supervisor.told((tell) => tell.t === 'refused' && tell.id === 11_000)
    await works()
    expect(box.counts).toMatchObject({ denied: 10_000 })
    const denied = (await box.records()).filter(({ verdict }) => verdict === 'denied')
    expect(denied.length).toBeLessThanOrEqual(2)
    expect(denied.reduce((sum, { times = 1 }) => sum + times, 0)).toBe(10_000)
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(128 * 1024 * 1024)
  })

  it('asks for thousands of different names: they are held to a number, and those beyond are told so', async () => {
    const dns = await NameServer.start({ 'x.example': 'silent' })
    closing.push(() => dns.close())
    const { box } = await setUp({
      policy: { mode: 'public', allow: [] },
      config: { resolvers: [dns.address], maxNames: 16 },
    })
    for (let id = 1001; id <= 1016; id += 1) box.supervisor.send({ t: 'name', id, name: 'x.example' })
    for (let id = 2001; id <= 5000; id += 1) box.supervisor.send({ t: 'name', id, name: `n${id}.example` })
    const last = await box.supervisor.told((tell) => tell.t === 'name' && tell.id === 5000)
    expect(last).toMatchObject({ outcome: 'failed', message: expect.stringContaining('16') })
    expect(new Set(dns.asked)).toEqual(new Set(['x.example']))
  })

  it('does not read its answers: it is not asked further, and others are served', async () => {
    const { box, port } = await setUp()
    const other = await Place.start({ policy: { mode: 'allow', allow: [`127.0.0.1:${port}`] } })
    closing.push(() => other.close())
    const control = box.supervisor.control as NonNullable<typeof box.supervisor.control>
    control.pause()
    let sent = 0
    const push = () => {
      while (sent < 200_000) {
        sent += 1
        const ask = { t: 'open', id: sent, via: 'connect', host: 'evil.example', port: 443, exec: null }
        if (!control.write(`${JSON.stringify(ask)}\n`)) return
      }
    }
    control.on('drain', push)
    push()
    const stream = await other.supervisor.tunnel({ host: '127.0.0.1', port })
    stream.end('x')
    expect((await collect(stream)).bytes.toString()).toBe('x')
    // 300 bytes of refusal for each: what fits into windows and the bound, not what was sent.
    expect(box.counts.denied).toBeLessThan(20_000)
    control.resume()
    const before = box.counts.denied
    await expect.poll(() => box.counts.denied).toBeGreaterThan(before)
  })

  it('resets tunnels in every state, and nothing is left', async () => {
    const { box, world, target, works } = await setUp()
    let count = 0
    box.supervisor.onTunnel = (_id, stream) => {
      count += 1
      if (count % 4 === 0) stream.close(8)
      else {
        stream.respond({ ':status': 200 })
        if (count % 4 === 1) stream.destroy(new Error('now'))
        if (count % 4 === 2) stream.end('bytes', () => stream.close(8))
        if (count % 4 === 3) stream.write('bytes', () => setImmediate(() => stream.close(1)))
      }
    }
    for (let id = 1001; id <= 1100; id += 1) {
      const via = id % 3 === 0 ? 'http' : 'socks'
      box.supervisor.send({ t: 'open', id, ...target, via, exec: null })
    }
    await expect.poll(() => count).toBe(100)
    await expect.poll(() => box.counts.open).toBe(0)
    await expect.poll(() => world.open).toBe(0)
    box.supervisor.onTunnel = undefined
    await works()
  })

  it('breaks off in the middle of everything, and nothing is left', async () => {
    const { box, world, target } = await setUp()
    box.supervisor.onTunnel = (_id, stream) => stream.respond({ ':status': 200 })
    for (let id = 1001; id <= 1100; id += 1) {
      box.supervisor.send({ t: 'open', id, ...target, via: id % 3 === 0 ? 'http' : 'socks', exec: null })
    }
    await expect.poll(() => box.counts.open).toBeGreaterThan(10)
    box.supervisor.breakOff()
    await expect.poll(() => box.counts.open).toBe(0)
    await expect.poll(() => world.open).toBe(0)
  })
})
