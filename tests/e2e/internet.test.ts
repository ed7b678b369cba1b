// The fake internet that other tests stand on: what it promises, asked from the host.
import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { get as httpGet, type IncomingMessage } from 'node:http'
import { get as httpsGet } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeBusyboxRootfs } from '@coppice/images/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { ROOT } from '../support/gateway-process.ts'
import { ADDRESSES, bytesDigest, Internet, PORTS, plainFetch } from '../support/internet/index.ts'

const MiB = 1024 * 1024
const cables = (): string[] => readdirSync('/sys/class/net').filter((name) => name.startsWith('coppice-inet'))
const ownNamespaces = (): string[] => readdirSync('/run/netns').filter((name) => name.includes(`-${process.pid}-`))

describe('the fake internet', () => {
  let internet: Internet
  const resolver = new Resolver({ timeout: 1000, tries: 1 })
  beforeAll(async () => {
    internet = await Internet.open()
    resolver.setServers([ADDRESSES.resolver])
  })
  beforeEach(() => internet.forget())
  afterAll(async () => {
    await internet?.close()
    expect([cables(), ownNamespaces()]).toEqual([[], []])
  })

  /** By name, as a client that asks its name server and trusts its authority. */
  const fetch = async (url: string, headers: Record<string, string> = {}): Promise<IncomingMessage> => {
    const { hostname, protocol } = new URL(url)
    const [address = ''] = await resolver.resolve4(hostname)
    const options = {
      headers,
      agent: false,
      ca: internet.certificates.authority,
      lookup: (_: string, __: object, done: (error: null, found: { address: string; family: number }[]) => void) =>
        done(null, [{ address, family: 4 }]),
    }
    return new Promise((resolve, reject) => {
      const request = protocol === 'https:' ? httpsGet(url, options, resolve) : httpGet(url, options, resolve)
      request.on('error', reject)
    })
  }
  const body = async (url: string, headers?: Record<string, string>): Promise<Buffer> => {
    const chunks: Buffer[] = []
    for await (const chunk of await fetch(url, headers)) chunks.push(chunk as Buffer)
    return Buffer.concat(chunks)
  }
  const speak = (port: number, text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      let heard = ''
      const socket = connect({ host: ADDRESSES.web, port })
      socket.on('data', (chunk) => {
        heard += chunk
      })
      socket.on('error', reject).on('close', () => resolve(heard))
      socket.end(text)
    })

  it('has a zone that the test writes, answers in turns, and a list of every question', async () => {
    await internet.setName('rebind.test', [[ADDRESSES.web], ['127.0.0.1']])
    await internet.setName('both.test', [ADDRESSES.private, 'fd00:ec2::254'])
    await internet.setName('*.wild.test', { cname: 'example.test', ttl: 60 })
    const asked = async (name: string) => (await resolver.resolve4(name)).join()
    expect([await asked('rebind.test'), await asked('rebind.test'), await asked('rebind.test')]).toEqual([
      ...[ADDRESSES.web, '127.0.0.1', '127.0.0.1'],
    ])
    expect(await resolver.resolve4('both.test')).toEqual([ADDRESSES.private])
    expect(await resolver.resolve6('both.test')).toEqual(['fd00:ec2::254'])
    expect(await resolver.resolveCname('a.wild.test')).toEqual(['example.test'])
    await expect(resolver.resolve4('nothing.test')).rejects.toMatchObject({ code: 'ENOTFOUND' })
    await internet.setName('broken.test', { failure: 'SERVFAIL' })
    await expect(resolver.resolve4('broken.test')).rejects.toMatchObject({ code: 'ESERVFAIL' })
    await internet.setName('silent.test', { failure: 'silent' })
    await expect(resolver.resolve4('silent.test')).rejects.toMatchObject({ code: 'ETIMEOUT' })
    const { questions } = await internet.seen()
    expect(questions.filter(({ name }) => name === 'rebind.test')).toHaveLength(3)
    expect(questions).toContainEqual({ name: 'both.test', type: 'AAAA', over: 'udp' })
  })

  it('answers over TCP what does not fit into a datagram', async () => {
    const many = Array.from({ length: 150 }, (_, index) => `198.51.100.${index + 60}`)
    await internet.setName('many.test', many)
    expect(await resolver.resolve4('many.test')).toEqual(many)
    expect((await internet.seen()).questions.map(({ over }) => over)).toContain('tcp')
  })

  it('serves names over TLS by its own authority, and what it serves is known beforehand', async () => {
    const hash = createHash('sha256')
    for await (const chunk of await fetch(`https://example.test/bytes/${64 * MiB}`)) hash.update(chunk as Buffer)
    expect(hash.digest('hex')).toBe(bytesDigest(64 * MiB))
    const whole = await body('http://api.example.test/chunked/200000')
    expect(createHash('sha256').update(whole).digest('hex')).toBe(bytesDigest(200_000))
    const part = await body('http://api.example.test/bytes/200000', { range: 'bytes=65530-131080' })
    expect(part.equals(whole.subarray(65_530, 131_081))).toBe(true)
    expect((await internet.seen()).requests[0]).toMatchObject({
      ...{ method: 'GET', host: 'example.test', serverName: 'example.test', to: `${ADDRESSES.web}:443` },
    })
  })

  it('has redirects, cut downloads and peers that speak first, reset, or want half-closed connections', async () => {
    expect((await fetch('http://example.test/redirect?to=http://127.0.0.1/')).headers.location).toBe(
      'http://127.0.0.1/',
    )
    await expect(body('http://example.test/cut/100000')).rejects.toThrow()
    expect(await speak(PORTS.banner, 'hello')).toBe('SSH-2.0-fake\r\nhello')
    expect(await speak(PORTS.digest, 'hello')).toBe(createHash('sha256').update('hello').digest('hex'))
    await expect(speak(PORTS.reset, 'hello')).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect((await internet.seen()).connections).toContain(`${ADDRESSES.web}:${PORTS.digest}`)
  })

  it('has addresses that are private, not there, or silent, and the metadata address when it is claimed', async () => {
    const reached = (host: string): Promise<string> =>
      new Promise((resolve) => {
        const socket = connect({ host, port: 80, timeout: 500 }, () => resolve('reached'))
        socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
        socket.on('timeout', () => resolve('silent'))
        socket.once('connect', () => socket.destroy())
      })
    internet.claimMetadata()
    expect(await Promise.all([ADDRESSES.private, ADDRESSES.metadata, ADDRESSES.other].map(reached))).toEqual([
      ...['reached', 'reached', 'reached'],
    ])
    expect(await reached(ADDRESSES.unreachable)).toBe('EHOSTUNREACH')
    expect(await reached(ADDRESSES.blackhole)).toBe('silent')
  })

  it('has repositories of apt, pip, npm and git', async () => {
    const packages = (await body('http://deb.example.test/./Packages')).toString()
    const deb = await body('http://deb.example.test/./coppice-hello_1.0_all.deb')
    expect(packages).toContain(`SHA256: ${createHash('sha256').update(deb).digest('hex')}`)
    const index = (await body('https://pypi.example.test/simple/coppice-hello/')).toString()
    const [, file, digest] = /href="\.\.\/\.\.\/(.*)#sha256=(.*?)"/.exec(index) ?? []
    const wheel = await body(`https://pypi.example.test/${file}`)
    expect(createHash('sha256').update(wheel).digest('hex')).toBe(digest)
    const { dist } = JSON.parse(String(await body('http://npm.example.test/coppice-hello'))).versions['1.0.0']
    const tarball = await body(dist.tarball)
    expect(`sha512-${createHash('sha512').update(tarball).digest('base64')}`).toBe(dist.integrity)
    const folder = mkdtempSync(join(tmpdir(), 'coppice-clone-'))
    const resolve = `http.curloptResolve=git.example.test:80:${ADDRESSES.web}`
    execFileSync('git', ['-c', resolve, 'clone', '--quiet', 'http://git.example.test/hello.git', 'hello'], {
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder },
    })
    expect(readFileSync(join(folder, 'hello/hello'), 'utf8')).toBe('hello from git\n')
    rmSync(folder, { recursive: true })
  })

  it('is reached by a static program that knows no proxy and no certificates', async () => {
    const root = mkdtempSync(join(tmpdir(), 'coppice-plain-'))
    await writeBusyboxRootfs(root)
    writeFileSync(join(root, 'etc/resolv.conf'), `nameserver ${ADDRESSES.resolver}\n`)
    execFileSync('mknod', [join(root, 'dev/urandom'), 'c', '1', '9'])
    const env = { PATH: '/bin', http_proxy: 'http://127.0.0.1:1', https_proxy: 'http://127.0.0.1:1' }
    const plain = (url: string) => execFileSync('/usr/sbin/chroot', [root, 'sh', '-c', plainFetch(url)], { env })
    for (const scheme of ['http', 'https'])
      expect(String(plain(`${scheme}://example.test/`))).toMatch(
        /^HTTP\/1\.1 200 OK\r\n[\s\S]*hello from example\.test\n$/,
      )
    expect((await internet.seen()).requests.map(({ serverName }) => serverName)).toEqual([null, 'example.test'])
    rmSync(root, { recursive: true })
  })

  it('has an HTTP proxy', async () => {
    const proxied = await new Promise<string>((resolve, reject) => {
      const socket = connect({ host: ADDRESSES.web, port: PORTS.proxy }, () =>
        socket.write('CONNECT example.test:80 HTTP/1.1\r\nHost: example.test:80\r\n\r\n'),
      )
      let heard = ''
      socket.on('error', reject).on('data', (chunk) => {
        heard += chunk
        if (heard.endsWith('established\r\n\r\n')) socket.write('GET / HTTP/1.0\r\nHost: example.test\r\n\r\n')
      })
      socket.on('end', () => resolve(heard))
    })
    expect(proxied).toMatch(/hello from example\.test\n$/)
    expect((await internet.seen()).proxied).toEqual(['CONNECT example.test:80'])
  })
})

it('takes the place of a fake internet whose test was killed, and leaves nothing of it', async () => {
  const program = `
    const { Internet } = await import(process.argv[1])
    await Internet.open()
    console.log('open')`
  const entry = join(ROOT, 'tests/support/internet/index.ts')
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, entry], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  child.kill('SIGKILL')
  await once(child, 'close')
  const ofChild = (folder: string): string[] => readdirSync(folder).filter((name) => name.includes(`-${child.pid}-`))
  expect([cables().length, ofChild('/run/netns').length, ofChild(tmpdir()).length]).toEqual([1, 1, 1])
  await using _internet = await Internet.open()
  expect([cables().length, ofChild('/run/netns').length, ofChild(tmpdir()).length]).toEqual([1, 0, 0])
})
