import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { EgressEnd, Program } from '../testing/egress-end.ts'
import { eventually } from '../testing/eventually.ts'
import { proxyPortOf, TestSandbox } from '../testing/sandbox.ts'
import { MAX_PLACES, MAX_REFUSING } from './places.ts'

const NETWORK = { proxyPort: 0, dnsPort: null, intercepts: [] }

let sandbox: TestSandbox
let end: EgressEnd
let port: number

beforeEach(async () => {
  sandbox = await TestSandbox.start({ config: { network: NETWORK } })
  port = await proxyPortOf(sandbox)
  end = await EgressEnd.attach(sandbox)
})
afterEach(() => sandbox.close())

/** A web server that says what it was asked for, and needs no port: it is at the other end of every tunnel. */
function web(): Server {
  return createServer((request, response) =>
    response.end(`${request.method} ${request.url} for ${request.headers.host}\n`),
  )
}

async function program(bytes: string | Buffer): Promise<Program> {
  const made = await Program.connect(port)
  made.send(bytes)
  return made
}

const SOCKS5 = Buffer.from([5, 1, 0])
const socks5Name = (name: string, to = 80) =>
  Buffer.concat([SOCKS5, Buffer.from([5, 1, 0, 3, name.length]), Buffer.from(name), Buffer.from([to >> 8, to & 0xff])])

test('curl, Python and Node find the proxy by themselves, and say which exec they are of', async () => {
  const server = web()
  end.serve((tunnel) => server.emit('connection', tunnel))
  const node = process.execPath
  const commands: [string, string][] = [
    ['curl -sS http://a.test/curl', 'GET http://a.test/curl for a.test\n'],
    ['curl -sSp http://b.test/tunnelled', 'GET /tunnelled for b.test\n'],
    ['curl -sS http://c.test/1 http://c.test/2', 'GET http://c.test/1 for c.test\nGET http://c.test/2 for c.test\n'],
    [
      `python3 -c "import urllib.request as u; print(u.urlopen('http://d.test/').read().decode(), end='')"`,
      'GET http://d.test/ for d.test\n',
    ],
    [
      `${node} -e "fetch('http://e.test/').then(async (a) => process.stdout.write(await a.text()))"`,
      'GET / for e.test\n',
    ],
    [
      `${node} -e "require('http').get('http://f.test/', (a) => a.pipe(process.stdout))"`,
      'GET http://f.test/ for f.test\n',
    ],
  ]
  for (const [shell, expected] of commands) {
    end.asks.length = 0
    const { info, stdout, stderr } = await sandbox.exec({ shell, env: { PATH: process.env.PATH ?? '' } })
    expect([shell, stdout, stderr.replace(/\(node.*|\(Use.*/g, '').trim()]).toEqual([shell, expected, ''])
    expect(end.asks.map((ask) => ask.t === 'open' && ask.exec)).toEqual([info.id])
  }
  server.closeAllConnections()
})

test('what is inside is reached without the proxy', async () => {
  const { stdout } = await sandbox.exec({
    shell: `curl -sS -o /dev/null -w '%{http_code} %{remote_port}\\n' http://127.0.0.1:9/ http://localhost:9/ http://x.localhost:9/`,
  })
  expect(stdout).toBe('000 0\n'.repeat(3))
  expect(end.asks).toEqual([])
})

test('what image, sandbox or exec say about proxies goes before', async () => {
  await sandbox.close()
  const defaults = { env: { HTTP_PROXY: 'http://image', NODE_USE_ENV_PROXY: '0' }, cwd: '/', user: '' }
  sandbox = await TestSandbox.start({ config: { network: NETWORK, defaults } })
  const { stdout } = await sandbox.exec({ shell: 'env | grep -i _proxy | sort', env: { no_proxy: '*', all_proxy: '' } })
  const found = Object.fromEntries(
    stdout
      .trim()
      .split('\n')
      .map((line) => line.split(/=(.*)/s)),
  )
  const ours = expect.stringMatching(/^http:\/\/ex-[0-9a-z]{16}:x@127\.0\.0\.1:\d+$/)
  expect(found).toEqual({
    HTTP_PROXY: 'http://image',
    HTTPS_PROXY: ours,
    https_proxy: ours,
    NODE_USE_ENV_PROXY: '0',
    all_proxy: '',
    no_proxy: '*',
  })
})

test('without a network there are no variables', async () => {
  await sandbox.close()
  sandbox = await TestSandbox.start()
  expect((await sandbox.exec({ shell: 'env | grep -ic proxy' })).stdout).toBe('0\n')
})

test('a refusal is an answer that says why, under the rule, in words that tools show', async () => {
  const statuses = { denied: 403, unreachable: 502, refused: 502, no_such_name: 502, timeout: 504, limit: 503 } as const
  for (const [kind, status] of Object.entries(statuses)) {
    const made = await program('CONNECT a.test:443 HTTP/1.1\r\n\r\n')
    const { id } = await end.next('open')
    end.refuse(id, kind as 'denied', 'no:rule')
    expect(await made.ended()).toBe('fin')
    const [head = '', body] = made.text.split('\r\n\r\n')
    expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} [A-Z][A-Za-z ]+: It is ${kind}\\.\r\n`))
    expect(head).toContain('\r\nX-Coppice-Rule: no:rule\r\n')
    expect(body).toBe(`It is ${kind}.\ncoppice network set SANDBOX\n`)
  }
  end.onAsk = (ask) => ask.t === 'open' && end.refuse(ask.id, 'denied')
  const curl = await sandbox.exec({ shell: 'curl -sS http://a.test/; curl -sS https://a.test/' })
  expect(curl.stdout).toBe('It is denied.\ncoppice network set SANDBOX\n')
  expect(curl.stderr).toContain('403')
  const python = await sandbox.exec({ shell: `python3 -c "import urllib.request as u; u.urlopen('https://a.test/')"` })
  expect(python.stderr).toContain('403 Forbidden: It is denied.')
})

test('SOCKS5: names, addresses, credentials, and a code for every refusal', async () => {
  const asked = async (bytes: Buffer, hello = 2) => {
    const made = await program(bytes)
    const { ask, tunnel } = await end.accept()
    tunnel.end('hi')
    expect(await made.ended()).toBe('fin')
    expect(made.bytes.subarray(hello).toString('latin1')).toBe('\x05\0\0\x01\0\0\0\0\0\0hi')
    return ask
  }
  expect(await asked(socks5Name('a.test', 8080))).toMatchObject({
    via: 'socks',
    host: 'a.test',
    port: 8080,
    exec: null,
  })
  const v4 = Buffer.from([5, 1, 0, 1, 192, 0, 2, 7, 1, 187])
  expect(await asked(Buffer.concat([SOCKS5, v4]))).toMatchObject({ host: '192.0.2.7', port: 443 })
  const v6 = Buffer.from([5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, ...Buffer.alloc(11), 1, 0, 80])
  expect(await asked(Buffer.concat([SOCKS5, v6]))).toMatchObject({ host: '2001:db8:0:0:0:0:0:1', port: 80 })
  const user = 'ex-0123456789abcdef'
  const login = Buffer.concat([Buffer.from([5, 2, 0, 2, 1, user.length]), Buffer.from(`${user}\x01x`, 'latin1')])
  expect(await asked(Buffer.concat([login, v4]), 4)).toMatchObject({ host: '192.0.2.7', exec: user })

  const codes = { denied: 2, unreachable: 3, no_such_name: 4, refused: 5, timeout: 6, limit: 1 } as const
  for (const [kind, code] of Object.entries(codes)) {
    const made = await program(socks5Name('a.test'))
    end.refuse((await end.next('open')).id, kind as 'denied')
    expect(await made.ended()).toBe('fin')
    expect([kind, [...made.bytes.subarray(2)]]).toEqual([kind, [5, code, 0, 1, 0, 0, 0, 0, 0, 0]])
  }
})

test('SOCKS4 and 4a', async () => {
  const four = await program(Buffer.from('\x04\x01\x00\x50\xc0\x00\x02\x07ex-0123456789abcdef\0', 'latin1'))
  const first = await end.accept()
  expect(first.ask).toMatchObject({ via: 'socks', host: '192.0.2.7', port: 80, exec: 'ex-0123456789abcdef' })
  first.tunnel.end('hi')
  expect(await four.ended()).toBe('fin')
  expect(four.text).toBe('\0\x5a\0\0\0\0\0\0hi')
  const named = await program(Buffer.from('\x04\x01\x01\xbb\0\0\0\x01\0a.test\0', 'latin1'))
  const ask = await end.next('open')
  expect(ask).toMatchObject({ host: 'a.test', port: 443, exec: null })
  end.refuse(ask.id, 'denied')
  expect(await named.ended()).toBe('fin')
  expect(named.text).toBe('\0\x5b\0\0\0\0\0\0')
})

test('curl speaks all of them', async () => {
  const server = web()
  end.serve((tunnel) => server.emit('connection', tunnel))
  for (const scheme of ['socks4a', 'socks5h', 'http']) {
    const { info, stdout } = await sandbox.exec({
      shell: `curl -sSx ${scheme}://$(echo $http_proxy | sed 's#.*//##') http://a.test/`,
    })
    expect([scheme, stdout]).toEqual([scheme, `GET ${scheme === 'http' ? 'http://a.test' : ''}/ for a.test\n`])
    expect(end.asks.at(-1)).toMatchObject({ exec: info.id })
  }
  server.closeAllConnections()
})

test('what is no request of any kind is refused in its own words, and the supervisor goes on', async () => {
  const hostile: [string | Buffer, string][] = [
    ['\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 'HTTP/1.1 400 '],
    ['\0\0\0\0', 'HTTP/1.1 400 '],
    ['CONNECT a.test HTTP/1.1\r\n\r\n', 'HTTP/1.1 400 '],
    ['CONNECT a.test:0 HTTP/1.1\r\n\r\n', 'HTTP/1.1 400 '],
    [`GET / HTTP/1.1\r\n${'A: b\r\n'.repeat(4000)}`, 'HTTP/1.1 431 '],
    [`GET ${'a'.repeat(1024 * 1024)}`, 'HTTP/1.1 431 '],
    // SOCKS5: no way to log in in common, BIND, UDP, unknown kind of address, empty name, port 0, control characters.
    [Buffer.from([5, 1, 9]), '\x05\xff'],
    [Buffer.from([5, 0]), '\x05\xff'],
    [Buffer.concat([SOCKS5, Buffer.from([5, 2, 0, 1, 1, 2, 3, 4, 0, 80])]), '\x05\0\x05\x07'],
    [Buffer.concat([SOCKS5, Buffer.from([5, 3, 0, 1, 1, 2, 3, 4, 0, 80])]), '\x05\0\x05\x07'],
    [Buffer.concat([SOCKS5, Buffer.from([5, 1, 0, 9, 1, 2, 3, 4, 0, 80])]), '\x05\0\x05\x08'],
    [Buffer.concat([SOCKS5, Buffer.from([5, 1, 0, 3, 0, 0, 80])]), '\x05\0\x05\x08'],
    [Buffer.concat([SOCKS5, Buffer.from([5, 1, 0, 1, 1, 2, 3, 4, 0, 0])]), '\x05\0\x05\x01'],
    [socks5Name('a\r\nb'), '\x05\0\x05\x01'],
    [Buffer.concat([SOCKS5, Buffer.from([4, 1, 0, 1, 1, 2, 3, 4, 0, 80])]), '\x05\0\x05\x01'],
    [Buffer.from([5, 1, 2, 7, 1]), '\x05\x02\x01\x01'],
    // SOCKS4: BIND, a user or a name without an end.
    [Buffer.from([4, 2, 0, 80, 1, 2, 3, 4, 0]), '\0\x5b'],
    [Buffer.concat([Buffer.from([4, 1, 0, 80, 1, 2, 3, 4]), Buffer.alloc(2000, 'a')]), '\0\x5b'],
    [Buffer.concat([Buffer.from([4, 1, 0, 80, 0, 0, 0, 4, 0]), Buffer.alloc(2000, 'a')]), '\0\x5b'],
  ]
  for (const [bytes, answer] of hostile) {
    const made = await program(bytes)
    await made.ended()
    expect([String(bytes).slice(0, 40), made.text.slice(0, answer.length)]).toEqual([
      String(bytes).slice(0, 40),
      answer,
    ])
  }
  expect(end.asks).toEqual([])
  expect((await sandbox.exec({ shell: 'echo fine' })).stdout).toBe('fine\n')
  expect(sandbox.hellos.length).toBe(1)
})

test('a head that does not come to its end within 10 s is cut, however it dribbles', async () => {
  const [silent, half, socks, dribbling] = await Promise.all([
    program(''),
    program('GET / HTTP/1.1\r\nA: '),
    program(SOCKS5),
    program('G'),
  ])
  const began = performance.now()
  const timer = setInterval(() => dribbling.send('E'), 500)
  const bodies = await Promise.all([silent, half, socks, dribbling].map((each) => each.ended(12_000)))
  clearInterval(timer)
  expect(performance.now() - began).toBeGreaterThan(9_000)
  expect(bodies).toEqual(['fin', 'fin', 'fin', 'fin'])
  expect(silent.text).toBe('')
  expect(half.text).toMatch(/^HTTP\/1\.1 408 /)
  expect(socks.text).toBe('\x05\0')
  expect(dribbling.text).toMatch(/^HTTP\/1\.1 408 /)
})

test('a program that goes away before it is answered is called off', async () => {
  for (const leave of ['end', 'resetAndDestroy'] as const) {
    const made = await program('CONNECT a.test:1 HTTP/1.1\r\n\r\n')
    const { id } = await end.next('open')
    made.socket[leave]()
    expect(await end.next('cancel')).toEqual({ t: 'cancel', id })
    await expect(end.tunnel(id)).rejects.toThrow('404')
    end.refuse(id, 'denied')
  }
})

test('an address that stands for no name is refused, and nobody is asked', async () => {
  const http = await program('CONNECT 198.18.3.4:443 HTTP/1.1\r\n\r\n')
  expect(await http.ended()).toBe('fin')
  expect(http.text).toMatch(/^HTTP\/1\.1 502 .*\r\nX-Coppice-Rule: unknown_address\r\n/s)
  expect(end.asks).toEqual([])
})

test('10,000 connections at once: execs run as ever, and those over the limit are told or reset', async () => {
  const over = join(sandbox.dir, 'over')
  const script = `
    const net = require('net'); let done = 0; const ends = {}
    const count = (how) => {
      ends[how] = (ends[how] ?? 0) + 1
      if (++done === 10000 - ${MAX_PLACES}) require('fs').writeFileSync('${over}', '')
      if (done === 10000) console.log(JSON.stringify(ends))
    }
    for (let i = 0; i < 10000; i++) {
      const s = net.connect(${port}, '127.0.0.1', () => s.write('CONNECT a.test:1 HTTP/1.1\\r\\n\\r\\n'))
      let text = ''
      s.on('data', (c) => { text += c }).on('error', () => {}).on('close', () => count(text.slice(9, 12) || 'reset'))
    }`
  const flood = sandbox.exec({ argv: [process.execPath, '-e', script], timeoutMs: 150_000 })
  await eventually(() => end.asks.length > 500)
  const began = performance.now()
  expect((await sandbox.exec({ shell: 'echo fine' })).stdout).toBe('fine\n')
  expect(performance.now() - began).toBeLessThan(10_000)
  // Nobody is answered before: a place that is free again goes to one that would have been over the limit. Those that the kernel
  // has no room for dial again after seconds, each time more of them; unanswered for a minute, a question is over by itself.
  await eventually(() => end.asks.length >= MAX_PLACES && existsSync(over), 50_000)
  for (const ask of end.asks) if (ask.t === 'open') end.refuse(ask.id, 'denied')
  const { 403: refused, 503: told, reset = 0, ...others } = JSON.parse((await flood).stdout)
  // How many are told, and how many reset, is a matter of who gets ahead of whom.
  expect({ refused, over: told + reset, others }).toEqual({
    refused: MAX_PLACES,
    over: 10_000 - MAX_PLACES,
    others: {},
  })
  expect(told).toBeGreaterThan(0)
  expect(sandbox.hellos.length).toBe(1)
  // Every place is free again.
  await eventually(async () => {
    const made = await program('CONNECT last.test:1 HTTP/1.1\r\n\r\n')
    await eventually(() => made.end || end.asks.some((ask) => ask.t === 'open' && ask.host === 'last.test'))
    return made.end === undefined
  })
}, 240_000)

test('over the limit, so many at one time may be told so, and all others are reset unheard', async () => {
  const request = 'CONNECT a.test:1 HTTP/1.1\r\n\r\n'
  await Promise.all(Array.from({ length: MAX_PLACES }, () => program(request)))
  await eventually(() => end.asks.length === MAX_PLACES)
  const silent = await Promise.all(Array.from({ length: MAX_REFUSING }, () => program('')))
  expect(await (await program('')).ended()).toBe('ECONNRESET')
  const [first] = silent as [Program]
  expect(first.end).toBeUndefined()
  first.send(request)
  expect(await first.ended()).toBe('fin')
  expect(first.text).toMatch(/^HTTP\/1\.1 503 .*\r\nX-Coppice-Rule: max_connections\r\n/s)
  expect(end.asks.length).toBe(MAX_PLACES)
})
