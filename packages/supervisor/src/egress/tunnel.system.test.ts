import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EgressEnd, Program, readAll } from '../testing/egress-end.ts'
import { eventually } from '../testing/eventually.ts'
import { proxyPortOf, TestSandbox } from '../testing/sandbox.ts'

const NETWORK = { proxyPort: 0, dnsPort: null, intercepts: [] }
const ACCEPTED = 'HTTP/1.1 200 Connection established\r\n\r\n'
const MiB = 1024 * 1024

let sandbox: TestSandbox
let end: EgressEnd
let port: number

beforeEach(async () => {
  sandbox = await TestSandbox.start({ config: { network: NETWORK, boundMs: 2_000 } })
  port = await proxyPortOf(sandbox)
  end = await EgressEnd.attach(sandbox)
})
afterEach(() => sandbox.close())

/** A program's connection and its tunnel, past the proxy's words. */
async function connected(early = '') {
  const program = await Program.connect(port)
  program.send(`CONNECT example.test:443 HTTP/1.1\r\n\r\n${early}`)
  const { tunnel } = await end.accept()
  expect((await program.take(ACCEPTED.length)).toString()).toBe(ACCEPTED)
  return { program, tunnel }
}

test('what a program sends before it is answered comes first, and nothing is lost', async () => {
  const { program, tunnel } = await connected('early ')
  program.send('late')
  program.socket.end()
  expect((await readAll(tunnel)).toString()).toBe('early late')
})

test('the outside ends its side: the program reads to the end and can go on sending', async () => {
  const { program, tunnel } = await connected()
  tunnel.end('all of it')
  expect(await program.ended()).toBe('fin')
  expect(program.text).toBe('all of it')
  program.send('still here')
  program.socket.end()
  expect((await readAll(tunnel)).toString()).toBe('still here')
  await eventually(async () => (await sandbox.info()).openStreams === 2)
})

test('the program ends its side: the outside reads to the end and can go on sending', async () => {
  const { program, tunnel } = await connected()
  program.socket.end('question')
  expect((await readAll(tunnel)).toString()).toBe('question')
  tunnel.write('answer ')
  await program.take(7)
  tunnel.end('and end')
  expect(await program.ended()).toBe('fin')
  expect(program.text).toBe('and end')
  await eventually(async () => (await sandbox.info()).openStreams === 2)
})

test('a program that resets its connection resets the stream, also after the other side has ended', async () => {
  for (const half of [false, true]) {
    const { program, tunnel } = await connected()
    if (half) {
      tunnel.end()
      await program.ended()
    }
    program.socket.resetAndDestroy()
    await expect(readAll(tunnel)).rejects.toThrow('reset with')
  }
})

test('a stream that is reset resets the program’s connection, also after the program has ended its side', async () => {
  for (const half of [false, true]) {
    const { program, tunnel } = await connected()
    tunnel.write('some')
    await program.take(4)
    if (half) {
      program.socket.end()
      await readAll(tunnel)
    }
    tunnel.destroy(new Error('reset'))
    expect(await program.ended()).toBe('ECONNRESET')
  }
})

test('a lost session resets every connection, however it is lost: no program takes a part for the whole', async () => {
  const losses: (() => void | Promise<void>)[] = [
    () => sandbox.cut(),
    async () => (await sandbox.session()).destroy(),
    async () => (await sandbox.session()).destroy(new Error('gone')),
  ]
  for (const lose of losses) {
    const idle = await connected()
    const halfRead = await connected()
    halfRead.tunnel.write('half of')
    await halfRead.program.take(4)
    const halfClosed = await connected()
    halfClosed.program.socket.end()
    // More is under way than all buffers between hold.
    const stalled = await connected()
    stalled.program.socket.pause()
    stalled.tunnel.write(Buffer.alloc(8 * MiB))
    const session = await sandbox.session()
    await lose()
    await eventually(() => session.destroyed)
    stalled.program.socket.resume()
    for (const { program } of [idle, halfRead, halfClosed, stalled]) expect(await program.ended()).toBe('ECONNRESET')
    await eventually(async () => (await sandbox.session()) !== session)
    end = await EgressEnd.attach(sandbox)
  }
})

test('a session that is lost amid a download makes the program fail, whatever it is', async () => {
  // Without a length, the end of the connection is the only end that the body has.
  const endless = 'HTTP/1.0 200 OK\r\n\r\n'
  // Node's own fetch takes a reset for such an end, whoever resets.
  const chunked = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n'
  const commands: [string, string][] = [
    ['curl -sS -o /dev/null http://example.test/', endless],
    [`python3 -c "import urllib.request as u; print(len(u.urlopen('http://example.test/').read()))"`, endless],
    [`${process.execPath} -e "fetch('http://example.test/').then((a) => a.text())"`, chunked],
  ]
  for (const [shell, head] of commands) {
    const { id } = await sandbox.json<{ id: string }>('POST', '/execs?detach=1', { shell, env: pathOfTest() })
    const { tunnel } = await end.accept()
    tunnel.write(head + 'x'.repeat(1000))
    tunnel.resume()
    await eventually(() => tunnel.writableLength === 0)
    // What was sent before an answered request has arrived. Else the program may not have been answered, and is asked for again.
    await sandbox.info()
    sandbox.cut()
    const session = await eventually(async () => sandbox.session())
    expect(session.closed).toBe(false)
    end = await EgressEnd.attach(sandbox)
    const info = await eventually(async () => {
      const found = await sandbox.json<{ state: string; result: { exitCode: number } | null }>('GET', `/execs/${id}`)
      return found.state === 'exited' ? found : undefined
    })
    expect([shell, info?.result?.exitCode]).not.toEqual([shell, 0])
  }
})

test('a connection that is made without a session is asked for in the next one', async () => {
  const before = await Program.connect(port)
  before.send('CONNECT before.test:1 HTTP/1.1\r\n\r\n')
  expect(await end.next('open')).toMatchObject({ host: 'before.test' })
  sandbox.cut()
  const during = await Program.connect(port)
  during.send('CONNECT during.test:2 HTTP/1.1\r\n\r\nearly')
  end = await EgressEnd.attach(sandbox)
  const asks = [await end.next('open'), await end.next('open')]
  expect(asks.map(({ host }) => host).sort()).toEqual(['before.test', 'during.test'])
  for (const ask of asks) (await end.tunnel(ask.id)).end(ask.host)
  for (const [program, host] of [
    [before, 'before.test'],
    [during, 'during.test'],
  ] as const) {
    expect(await program.ended()).toBe('fin')
    expect(program.text).toBe(ACCEPTED + host)
  }
})

test('when no session comes within the bound, the program is told', async () => {
  sandbox.answerOnly('nothing\n')
  sandbox.cut()
  const http = await Program.connect(port)
  http.send('CONNECT a.test:1 HTTP/1.1\r\n\r\n')
  const socks = await Program.connect(port)
  socks.send('\x05\x01\x00\x05\x01\x00\x03\x01a\x00\x50')
  expect(await http.ended()).toBe('fin')
  expect(http.text).toMatch(/^HTTP\/1\.1 503 .*no session/)
  expect(await socks.ended()).toBe('fin')
  expect(socks.bytes.subarray(2, 4)).toEqual(Buffer.from([5, 1]))
})

test('a second control stream takes the place of the first, and what was asked is asked again', async () => {
  const program = await Program.connect(port)
  program.send('CONNECT a.test:1 HTTP/1.1\r\n\r\n')
  const first = await end.next('open')
  const second = await EgressEnd.attach(sandbox)
  const again = await second.next('open')
  expect(again.id).not.toBe(first.id)
  await expect(end.tunnel(first.id)).rejects.toThrow('404')
  ;(await second.tunnel(again.id)).end('there')
  expect(await program.ended()).toBe('fin')
  expect(program.text).toBe(`${ACCEPTED}there`)
})

test('connections that nobody waits for are not taken', async () => {
  for (const id of ['0', '1', '-1', '1.5', 'x', '99999999999999999999', '']) {
    await expect(sandbox.json('POST', `/egress/${id}`)).rejects.toMatchObject({ status: 404 })
  }
  const { tunnel } = await connected()
  await expect(end.tunnel(1)).rejects.toThrow('404')
  tunnel.destroy(new Error('reset'))
})

test('64 MiB each way at the same time arrive byte for byte', async () => {
  await sandbox.close()
  sandbox = await TestSandbox.start({ config: { network: NETWORK }, eager: true })
  port = await proxyPortOf(sandbox)
  end = await EgressEnd.attach(sandbox)
  const { program, tunnel } = await connected()
  const piece = randomBytes(MiB)
  const sent = createHash('sha256')
  for (let index = 0; index < 64; index++) sent.update(piece)
  const expected = sent.digest('hex')
  const digest = async (source: NodeJS.ReadableStream) => {
    const hash = createHash('sha256')
    source.on('data', (chunk) => hash.update(chunk))
    await once(source, 'end')
    return hash.digest('hex')
  }
  const pour = async (target: NodeJS.WritableStream) => {
    for (let index = 0; index < 64; index++) if (!target.write(piece)) await once(target, 'drain')
    target.end()
  }
  program.socket.removeAllListeners('data')
  const [down, up] = await Promise.all([
    digest(program.socket),
    digest(tunnel.resume()),
    pour(tunnel),
    pour(program.socket),
  ])
  expect([down, up]).toEqual([expected, expected])
})

test('a side that does not read holds a bounded part, and stalls nobody else', async () => {
  const stalled = await connected()
  stalled.program.socket.pause()
  let taken = 0
  for (let waiting = false; !waiting; ) {
    stalled.tunnel.write(Buffer.alloc(64 * 1024), () => {
      taken += 64 * 1024
    })
    waiting = stalled.tunnel.writableLength > 16 * MiB
  }
  const other = await connected()
  for (let round = 0; round < 100; round++) {
    other.tunnel.write('ping')
    await other.program.take(4)
    other.program.send('pong')
    await once(other.tunnel.resume(), 'data')
  }
  // The kernel's buffers of one connection on loopback, one stream's window, and what is held ahead.
  expect(taken).toBeLessThan(12 * MiB)
})

function pathOfTest(): Record<string, string> {
  return { PATH: process.env.PATH ?? '' }
}
