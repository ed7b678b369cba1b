import { once } from 'node:events'
import type { ClientHttp2Stream } from 'node:http2'
import type { ListeningPort } from '@coppice/protocol/wire'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readAll } from '../testing/egress-end.ts'
import { eventually } from '../testing/eventually.ts'
import { freePort } from '../testing/free-port.ts'
import { proxyPortOf, TestSandbox } from '../testing/sandbox.ts'

let sandbox: TestSandbox
beforeEach(async () => {
  sandbox = await TestSandbox.start({ config: { network: { proxyPort: 0, dnsPort: null, intercepts: [] } } })
})
afterEach(async () => {
  await sandbox.endExecs()
  await sandbox.close()
})

/** Runs a server inside, and gives its port once it listens. */
async function serving(script: string, host = '127.0.0.1'): Promise<number> {
  const port = await freePort()
  const source = `const net = require('net'); net.createServer({ allowHalfOpen: true }, (s) => { s.on('error', (e) => console.log(e.code)); ${script} }).listen(${port}, '${host}')`
  await sandbox.json('POST', '/execs?detach=1', { argv: [process.execPath, '-e', source] })
  await eventually(async () => (await listening()).some((each) => each.port === port))
  return port
}

async function listening(): Promise<ListeningPort[]> {
  return (await sandbox.json<{ ports: ListeningPort[] }>('GET', '/ports')).ports
}

async function connect(port: number): Promise<ClientHttp2Stream> {
  const stream = await sandbox.open('POST', `/ports/${port}`)
  stream.pause()
  const [headers] = await once(stream, 'response')
  expect(headers[':status']).toBe(200)
  return stream
}

test('bytes go both ways, and each side ends by itself', async () => {
  const port = await serving(
    `s.write('hello '); let t = ''; s.on('data', (c) => t += c).on('end', () => s.end(t.toUpperCase()))`,
  )
  const stream = await connect(port)
  stream.end('question')
  expect((await readAll(stream)).toString()).toBe('hello QUESTION')
})

test('a server that ends first still hears what comes after', async () => {
  const port = await serving(`s.end('bye'); let t = ''; s.on('data', (c) => t += c).on('end', () => console.log(t))`)
  const stream = await connect(port)
  expect((await readAll(stream)).toString()).toBe('bye')
  stream.end('and more')
  const { execs } = await sandbox.json<{ execs: { id: string; outputEnd: number }[] }>('GET', '/execs')
  await eventually(
    async () => (await sandbox.json<{ outputEnd: number }>('GET', `/execs/${execs[0]?.id}`)).outputEnd >= 9,
  )
})

test('resets go both ways', async () => {
  const resetting = await connect(await serving(`s.write('x'); s.once('data', () => s.resetAndDestroy())`))
  resetting.write('now')
  await expect(readAll(resetting)).rejects.toThrow('reset with')
  const port = await serving(`s.write('x'.repeat(100))`)
  const reset = await connect(port)
  await once(reset.resume(), 'data')
  reset.destroy(new Error('reset'))
  const { execs } = await sandbox.json<{ execs: { id: string }[] }>('GET', '/execs')
  await eventually(async () => {
    const outputs = await Promise.all(execs.map(({ id }) => sandbox.frames('GET', `/execs/${id}/output?from=0`)))
    return outputs.flat().some((frame) => frame.payload.toString().includes('ECONNRESET'))
  })
})

test('a server on IPv6 loopback alone is reached', async () => {
  const stream = await connect(await serving(`s.end('six')`, '::1'))
  expect((await readAll(stream)).toString()).toBe('six')
})

test('where nothing listens it is said; what is no port is refused; the supervisor’s own ports are nobody’s', async () => {
  const port = await freePort()
  await expect(sandbox.json('POST', `/ports/${port}`)).rejects.toMatchObject({
    status: 412,
    code: 'failed_precondition',
    reason: 'port_not_listening',
    facts: { port },
    hint: expect.stringContaining('coppice inspect sb-test'),
  })
  for (const bad of ['0', '65536', '-1', 'x', '80x', '99999999999']) {
    await expect(sandbox.json('POST', `/ports/${bad}`)).rejects.toMatchObject({ status: 400, reason: 'bad_port' })
  }
  const own = await proxyPortOf(sandbox)
  await expect(sandbox.json('POST', `/ports/${own}`)).rejects.toMatchObject({ reason: 'port_not_listening' })
  expect((await listening()).some((each) => each.port === own)).toBe(false)
})

test('what listens is listed, with address and program', async () => {
  const [four, all, six] = [await serving(''), await serving('', '0.0.0.0'), await serving('', '::1')]
  const listed = await listening()
  for (const [port, address] of [
    [four, '127.0.0.1'],
    [all, '0.0.0.0'],
    [six, '::1'],
  ] as const) {
    const found = listed.filter((each) => each.port === port)
    expect(found).toEqual([{ port, address, process: expect.stringMatching(/node|MainThread/) }])
  }
  expect(listed.map(({ port }) => port)).toEqual(listed.map(({ port }) => port).sort((a, b) => a - b))
})

test('a client that goes away while the server does not answer leaves nothing behind', async () => {
  // One connection fits its queue; the next ones wait for ever.
  const port = await freePort()
  const python = `import socket,time; s=socket.socket(); s.bind(('127.0.0.1',${port})); s.listen(0); time.sleep(60)`
  await sandbox.json('POST', '/execs?detach=1', { argv: ['python3', '-c', python], env: { PATH: process.env.PATH } })
  await eventually(async () => (await listening()).some((each) => each.port === port))
  const before = (await sandbox.info()).openFiles
  const streams = await Promise.all(Array.from({ length: 5 }, () => sandbox.open('POST', `/ports/${port}`)))
  await eventually(async () => (await sandbox.info()).openFiles >= before + 5)
  for (const stream of streams) stream.close(8)
  await eventually(async () => (await sandbox.info()).openFiles <= before)
})
