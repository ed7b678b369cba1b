import { once } from 'node:events'
import http, { type IncomingMessage } from 'node:http'
import net from 'node:net'
import type { Sandbox } from '@coppice/sdk'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CoppiceCommand } from '../support/command.ts'
import type { LinkProxy } from '../support/link-proxy.ts'
import { openWorld, type World } from '../support/world.ts'

let world: World
let box: Sandbox
let other: Sandbox
let coppice: CoppiceCommand
/** Between `box` and the gateway. */
let link: LinkProxy
/** Ports inside: busybox's web server, and an echo that resets those who ask for it, both on loopback. */
const WEB = 8080
const ECHO = 7000

/** The Node of the runtime bundle: every sandbox has it. */
const NODE = ['/.coppice/ld.so', '--library-path', '/.coppice/lib', '/.coppice/coppice-supervisor']
const ECHO_PROGRAM = `require('node:net').createServer((socket) => {
  socket.on('error', () => {})
  socket.on('data', (data) => (String(data) === 'reset' ? socket.resetAndDestroy() : socket.write(data)))
}).listen(${ECHO}, '127.0.0.1')`

beforeAll(async () => {
  world = await openWorld()
  coppice = new CoppiceCommand(world.gateway.home)
  box = await world.create({ name: 'box', network: { allow: ['a.example', '*.b.example:8443'] } })
  other = await world.create()
  link = await world.interpose(box)
  await box.files.write('/srv/index.html', '<h1>from inside</h1>', { parents: true })
  await box.detached(['httpd', '-f', '-p', `127.0.0.1:${WEB}`, '-h', '/srv'])
  await box.detached([...NODE, '-e', ECHO_PROGRAM])
  await world.until(
    async () => {
      const listening = (await box.ports()).map(({ port }) => port)
      return listening.includes(WEB) && listening.includes(ECHO)
    },
    'the servers inside to listen',
    30_000,
  )
}, 120_000)
afterAll(() => world.dispose(), 120_000)

async function get(url: string, headers: Record<string, string> = {}) {
  const { hostname, port, pathname, search } = new URL(url)
  const host = `${hostname}:${port}`
  const request = http.get({
    host: '127.0.0.1',
    port,
    path: pathname + search,
    headers: { host, ...headers },
    agent: false,
  })
  const [answer] = (await once(request, 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of answer) text += chunk
  return { status: answer.statusCode, headers: answer.headers, text }
}

describe('a preview', () => {
  it('is printed alone, opens with one request, and only with its token', async () => {
    const { code, stdout, stderr } = await coppice.run(['preview', 'box', String(WEB)])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const url = stdout.trim()
    expect(url).toMatch(new RegExp(`^http://${WEB}-${box.id}\\.localhost:\\d+/\\?coppice-token=[\\w-]{43}$`))
    expect(await get(url)).toMatchObject({ status: 200, text: '<h1>from inside</h1>' })
    expect(await get(url.replace(/\?.*/, ''))).toMatchObject({ status: 401 })
    expect(await get(url.replace(box.id, other.id))).toMatchObject({ status: 401 })
    const redirected = await get(url, { 'sec-fetch-mode': 'navigate' })
    expect(redirected).toMatchObject({ status: 303, headers: { location: '/' } })
    const cookie = redirected.headers['set-cookie']?.[0]?.split(';')[0] ?? ''
    expect(await get(url.replace(/\?.*/, ''), { cookie })).toMatchObject({ status: 200 })
    expect(await get(url.replace(`${WEB}-${box.id}`, `${WEB}-box`))).toMatchObject({ status: 200 })
  })

  it('of a public port needs no token, and of one made private again it does', async () => {
    const { url } = await box.preview(WEB, { public: true })
    expect(url).toMatch(/localhost:\d+\/$/)
    expect(await get(url)).toMatchObject({ status: 200 })
    expect((await box.inspect()).publicPorts).toEqual([WEB])
    await box.preview(WEB, { public: false })
    expect(await get(url)).toMatchObject({ status: 401 })
  })

  it('says that nothing listens, or that the sandbox does not run', async () => {
    expect(await get((await box.preview(1)).url)).toMatchObject({
      status: 502,
      text: expect.stringContaining('port 1 '),
    })
    const { url } = await other.preview(WEB, { public: true })
    await other.stop()
    const stopped = await get(url)
    expect(stopped).toMatchObject({ status: 503, text: expect.stringContaining(`coppice start ${other.id}`) })
    expect(stopped.text).not.toContain('lastOutput')
    await other.start()
    expect(await get(url)).toMatchObject({ status: 502 })
  })

  it("is not reached through the gateway's own name, nor its API through a preview's", async () => {
    const { url } = await box.preview(WEB)
    const { hostname, port } = new URL(url)
    const authorization = `Bearer ${world.gateway.token}`
    const api = await get(`http://${hostname}:${port}/v1/status`, { authorization })
    expect(api).toMatchObject({ status: 401, text: expect.stringContaining('bad_preview_token') })
    const foreign = await get(`http://127.0.0.1:${port}/v1/status`, {
      authorization,
      origin: `http://${hostname}:${port}`,
    })
    expect(foreign).toMatchObject({ status: 403 })
  })
})

describe('forward', () => {
  it('leads here until it is interrupted, and says when a connection cannot be made', async () => {
    const running = coppice.start(['forward', 'box', `0:${WEB}`, `0:${ECHO}`, '0:1', '--json'])
    await world.until(() => running.stdout.includes('\n'), 'the ports to be there', 30_000)
    const [web, echo, nothing] = (JSON.parse(running.stdout) as { forwards: { localPort: number }[] }).forwards
    expect(running.stderr).toContain(`-> box:${WEB}`)
    expect(await get(`http://127.0.0.1:${web?.localPort}/`)).toMatchObject({ text: '<h1>from inside</h1>' })
    const socket = net.connect(echo?.localPort ?? 0, '127.0.0.1')
    socket.write('hello')
    expect(String((await once(socket, 'data'))[0])).toBe('hello')
    const refused = net.connect(nothing?.localPort ?? 0, '127.0.0.1')
    expect((await once(refused.resume(), 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
    expect(running.stderr).toContain('Nothing listens on port 1 ')
    const closed = new Promise((resolve) => socket.on('error', () => {}).once('close', resolve))
    running.child.kill('SIGINT')
    expect(await running.ended).toMatchObject({ code: 0 })
    await closed
  })

  it('passes a reset from inside on: what was cut is never taken for whole', async () => {
    await using forward = await box.forward(ECHO)
    const socket = net.connect({ port: forward.port, host: forward.host, allowHalfOpen: true })
    socket.write('x')
    await once(socket, 'data')
    socket.write('reset')
    const outcome = await new Promise((resolve) => {
      socket.once('end', () => resolve('an end')).once('error', resolve)
    })
    expect(outcome).toMatchObject({ code: 'ECONNRESET' })
  })

  it('resets a connection when its session breaks, and new ones find the next', async () => {
    await using forward = await box.forward(ECHO)
    const before = net.connect(forward.port, forward.host)
    before.write('x')
    await once(before, 'data')
    const reset = once(before, 'error')
    link.cut()
    expect((await reset)[0]).toMatchObject({ code: 'ECONNRESET' })
    const after = net.connect(forward.port, forward.host)
    after.write('again')
    expect(String((await once(after, 'data'))[0])).toBe('again')
    after.destroy()
    link.dispose()
  })

  it('goes on when the gateway was killed and is there again', async () => {
    await using forward = await box.forward(ECHO)
    const before = net.connect(forward.port, forward.host)
    before.write('x')
    await once(before, 'data')
    const closed = new Promise((resolve) => before.on('error', () => {}).once('close', resolve))
    await world.gateway.kill()
    await closed
    await world.gateway.start()
    const after = net.connect(forward.port, forward.host)
    after.write('again')
    expect(String((await once(after, 'data'))[0])).toBe('again')
    after.destroy()
  })
})

describe('what is known of a network', () => {
  it('is in inspect: what listens, the policy, and counts', async () => {
    const { stdout } = await coppice.run(['inspect', 'box'])
    expect(JSON.parse(stdout)).toMatchObject({
      network: { mode: 'allow', allow: ['a.example', '*.b.example:8443'], counts: { open: 0 } },
      listening: expect.arrayContaining([
        { port: WEB, address: '127.0.0.1', process: 'httpd' },
        expect.objectContaining({ port: ECHO, address: '127.0.0.1' }),
      ]),
    })
  })

  it('is shown, changed and suggested by the command', async () => {
    const made = await coppice.run(['create', '--from', 'busybox', '--allow', 'a.example', '--allow', 'b.example:22'])
    const id = made.stdout.trim()
    const show = async () => JSON.parse((await coppice.run(['network', 'show', id, '--json'])).stdout).policy
    expect(await show()).toEqual({ mode: 'allow', allow: ['a.example', 'b.example:22'] })
    expect(
      await coppice.run(['network', 'set', id, '--deny', 'a.example', 'x.example', '--allow', 'c.example']),
    ).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^mode +allow/m),
      stderr: 'coppice: x.example was not on the list\n',
    })
    expect(await show()).toEqual({ mode: 'allow', allow: ['b.example:22', 'c.example'] })
    expect(await coppice.run(['network', 'set', id, '--only', 'https://d.example'])).toMatchObject({
      code: 125,
      stderr: expect.stringContaining('invalid_argument/bad_rule'),
    })
    await coppice.run(['network', 'set', id, '--mode', 'public', '--only', 'd.example'])
    expect(await show()).toEqual({ mode: 'public', allow: ['d.example'] })
    expect(await coppice.run(['network', 'suggest', id])).toMatchObject({ code: 0, stdout: '- d.example\n' })
    await coppice.run(['network', 'suggest', id, '--apply'])
    expect(await show()).toEqual({ mode: 'allow', allow: [] })
    expect(await coppice.run(['logs', id, '--egress', '--json'])).toMatchObject({ code: 0, stdout: '[]\n' })
    await coppice.run(['rm', id])
  })

  it('has a line for what was refused', async () => {
    const ask = 'GET http://evil.example/ HTTP/1.1\\r\\nHost: evil.example\\r\\nConnection: close\\r\\n\\r\\n'
    const { stdout } = await box.exec([
      'sh',
      '-c',
      `printf '${ask}' | nc 127.0.0.1 $(echo $http_proxy | sed 's/.*://')`,
    ])
    expect(stdout).toMatch(/^HTTP\/1.1 403 /)
    await world.until(
      async () => {
        const { stdout: log } = await coppice.run(['logs', 'box', '--egress', '--denied'])
        return /evil\.example +- +80 .* denied +not_listed$/m.test(log)
      },
      'the refusal to be in the log',
      30_000,
    )
  })
})
