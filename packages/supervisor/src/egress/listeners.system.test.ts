import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import type { SupervisorNetwork } from '@coppice/protocol/wire'
import { afterEach, expect, test } from 'vitest'
import { dnsQuery, readReply } from '../testing/dns.ts'
import { EgressEnd, Program } from '../testing/egress-end.ts'
import { eventually } from '../testing/eventually.ts'
import { freePort } from '../testing/free-port.ts'
import { proxyPortOf, TestSandbox } from '../testing/sandbox.ts'

const NONE: SupervisorNetwork = { proxyPort: 0, dnsPort: null, intercepts: [] }

let sandbox: TestSandbox
afterEach(() => sandbox.close())

async function answers(port: number): Promise<boolean> {
  return Program.connect(port).then(
    ({ socket }) => {
      socket.destroy()
      return true
    },
    () => false,
  )
}

async function withResolver(): Promise<{ end: EgressEnd; dnsPort: number; resolver: Resolver }> {
  const dnsPort = await freePort()
  sandbox = await TestSandbox.start({ config: { network: { ...NONE, dnsPort } } })
  const resolver = new Resolver({ timeout: 5_000, tries: 1 })
  resolver.setServers([`127.0.0.1:${dnsPort}`])
  return { end: await EgressEnd.attach(sandbox), dnsPort, resolver }
}

test('a resolver’s client gets addresses for names, names for addresses, and errors that it knows', async () => {
  const { end, resolver } = await withResolver()
  end.onAsk = (ask) => {
    if (ask.t !== 'name') return
    const [outcome = ''] = ask.name.split('.')
    end.tell({ t: 'name', id: ask.id, outcome: outcome as 'exists', message: 'why' })
  }
  const [address = ''] = await resolver.resolve4('exists.a.test')
  expect(address).toMatch(/^198\.1[89]\./)
  expect(await resolver.resolve4('EXISTS.a.test')).toEqual([address])
  expect(await resolver.resolve4('exists.b.test')).not.toEqual([address])
  expect(await resolver.reverse(address)).toEqual(['exists.a.test'])
  await expect(resolver.resolve6('exists.a.test')).rejects.toMatchObject({ code: 'ENODATA' })
  await expect(resolver.resolve4('denied.test')).rejects.toMatchObject({ code: 'ENOTFOUND' })
  await expect(resolver.resolve4('no_such_name.test')).rejects.toMatchObject({ code: 'ENOTFOUND' })
  await expect(resolver.resolve4('failed.test')).rejects.toMatchObject({ code: 'ESERVFAIL' })
  const asked = end.asks.length
  await expect(resolver.resolveTxt('exists.secret.test')).rejects.toMatchObject({ code: 'ENODATA' })
  expect(end.asks.length).toBe(asked)
})

test('an address that a name was given leads to the name through the proxy as well', async () => {
  const { end, resolver } = await withResolver()
  end.serve((tunnel, ask) => tunnel.end(`${ask.host}:${ask.port}`))
  const [address = ''] = await resolver.resolve4('a.test')
  const program = await Program.connect(await proxyPortOf(sandbox))
  program.send(`CONNECT ${address}:443 HTTP/1.1\r\n\r\n`)
  expect(await program.ended()).toBe('fin')
  expect(program.text).toMatch(/\r\n\r\na\.test:443$/)
})

test('TCP: queries one after the other and all at once, in order; hostile lengths end the connection', async () => {
  const { end, dnsPort } = await withResolver()
  end.serve(() => {})
  const framed = (query: Buffer) => Buffer.concat([Buffer.from([query.length >> 8, query.length & 0xff]), query])
  const program = await Program.connect(dnsPort)
  const queries = Array.from({ length: 300 }, (_, id) => dnsQuery(`n${id % 7}.test`, 1, { id }))
  program.send(Buffer.concat(queries.map(framed)))
  for (const [id, query] of queries.entries()) {
    const length = (await program.take(2)).readUInt16BE(0)
    const reply = readReply(await program.take(length), query)
    expect([id, reply.id, reply.code, reply.answers]).toEqual([id, id, 0, 1])
  }
  program.socket.end()
  expect(await program.ended()).toBe('fin')
  for (const bytes of [Buffer.from([0xff, 0xff, 1]), framed(Buffer.from('x')), framed(Buffer.alloc(4095))]) {
    const hostile = await Program.connect(dnsPort)
    hostile.send(bytes)
    expect(await hostile.ended()).toMatch(/fin|ECONNRESET/)
    expect(hostile.text).toBe('')
  }
})

test('a UDP query with a forged sender that nobody can be harms nobody', async () => {
  const { end, dnsPort, resolver } = await withResolver()
  end.serve(() => {})
  const query = dnsQuery('a.test', 1)
  const forged = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
q = bytes.fromhex('${query.toString('hex')}')
s.sendto(bytes([0, 0]) + (${dnsPort}).to_bytes(2, 'big') + (8 + len(q)).to_bytes(2, 'big') + bytes(2) + q, ('127.0.0.1', 0))`
  const { stderr } = await sandbox.exec({ argv: ['python3', '-c', forged], env: { PATH: process.env.PATH ?? '' } })
  expect(stderr).toBe('')
  await eventually(() => end.asks.length > 0)
  expect((await resolver.resolve4('b.test')).length).toBe(1)
  expect(sandbox.hellos.length).toBe(1)
})

test('what the gateway says to listen on is listened on from then on, and the proxy stays where it is', async () => {
  sandbox = await TestSandbox.start({ config: { network: NONE } })
  const end = await EgressEnd.attach(sandbox)
  const port = await proxyPortOf(sandbox)
  const [first, second, dns] = [await freePort(), await freePort(), await freePort()]
  const open = await Program.connect(port)
  open.send('CONNECT a.test:1 HTTP/1.1\r\n\r\n')
  const { tunnel } = await end.accept()
  const network = { proxyPort: await freePort(), dnsPort: dns, intercepts: [{ port: 80, at: first }] }
  end.tell({ t: 'network', network })
  await eventually(async () => (await answers(first)) && (await answers(dns)))
  expect(await answers(network.proxyPort)).toBe(false)
  expect(await proxyPortOf(sandbox)).toBe(port)
  end.tell({ t: 'network', network: { ...network, dnsPort: null, intercepts: [{ port: 443, at: second }] } })
  await eventually(async () => (await answers(second)) && !(await answers(first)) && !(await answers(dns)))
  // Nobody is led there by its own address: it is a dead end.
  const astray = await Program.connect(second)
  expect(await astray.ended()).toBe('ECONNRESET')
  tunnel.write('still there')
  await eventually(() => open.text.endsWith('still there'))
})

test('what a gateway of another version says is passed over, and nonsense ends only the stream', async () => {
  sandbox = await TestSandbox.start({ config: { network: NONE } })
  const end = await EgressEnd.attach(sandbox)
  const port = await proxyPortOf(sandbox)
  const odd = [
    { t: 'weather', is: 'fine' },
    { t: 'network' },
    { t: 'network', network: { proxyPort: -1, dnsPort: 'x', intercepts: [{}] } },
    { t: 'refused', id: 7 },
    { t: 'name', id: 'x' },
    [],
    null,
    3,
  ]
  for (const tell of odd) end.control.write(`${JSON.stringify(tell)}\n`)
  const program = await Program.connect(port)
  program.send('CONNECT a.test:1 HTTP/1.1\r\n\r\n')
  const { id } = await end.next('open')
  end.control.write(`${JSON.stringify({ t: 'refused', id, error: { kind: 'new', message: 5 } })}\n`)
  expect(await program.ended()).toBe('fin')
  expect(program.text).toMatch(/^HTTP\/1\.1 502 Bad Gateway: 5\r\n/)
  for (const nonsense of ['{"t":\n', 'x'.repeat(20_000)]) {
    const bad = await EgressEnd.attach(sandbox)
    bad.control.write(nonsense)
    await eventually(() => bad.control.closed)
  }
  expect((await sandbox.exec({ shell: 'echo fine' })).stdout).toBe('fine\n')
  expect(sandbox.hellos.length).toBe(1)
})

test('a port that a program has is done without, said once, and taken as soon as it is free', async () => {
  const sockets: Socket[] = []
  const squatter = createServer((socket) => sockets.push(socket)).listen(0)
  await once(squatter, 'listening')
  const { port } = squatter.address() as { port: number }
  sandbox = await TestSandbox.start({ config: { network: { ...NONE, proxyPort: port } } })
  expect((await sandbox.exec({ shell: 'echo works' })).stdout).toBe('works\n')
  expect(await proxyPortOf(sandbox)).toBe(port)
  await eventually(() => sandbox.log.includes(`proxy on port ${port}: not listening`))
  squatter.close()
  const end = await EgressEnd.attach(sandbox)
  await eventually(() => sandbox.log.includes(`proxy on port ${port}: listening now`), 15_000)
  expect(sandbox.log.split('not listening').length).toBe(2)
  const program = await Program.connect(port)
  program.send('CONNECT a.test:1 HTTP/1.1\r\n\r\n')
  expect(await end.next('open')).toMatchObject({ host: 'a.test' })
})
