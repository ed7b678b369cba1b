import { once } from 'node:events'
import { mkdtempSync, statSync } from 'node:fs'
import http2, { type ServerHttp2Stream } from 'node:http2'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CoppiceError, Progress } from '@coppice/protocol'
import { afterEach, describe, expect, it } from 'vitest'
import { readFirstLine } from './hello.ts'
import { SessionHub } from './hub.ts'

const opened: { close(): void }[] = []
afterEach(() => {
  for (const one of opened.splice(0)) one.close()
})

interface Supervisor {
  socket: Socket
  welcome: { ok: boolean; error?: { reason: string } }
  onStream: (listener: (stream: ServerHttp2Stream) => void) => void
}

async function makeHub(leaseMs = 12_000, lost: string[] = []) {
  const runDir = mkdtempSync(join(tmpdir(), 'coppice-hub-'))
  const hub = new SessionHub({ runDir, leaseMs, onLost: (id) => lost.push(id) })
  opened.push(hub)
  await hub.expect('sb-1', 'token-1')
  return { hub, path: join(runDir, 'sb-1', 'gw.sock') }
}

async function dial(path: string, hello: Record<string, unknown> = {}, speaks = true): Promise<Supervisor> {
  const socket = connect(path)
  opened.push({ close: () => socket.destroy() })
  socket.on('error', () => {})
  const full = {
    coppice: 'session',
    versions: [1],
    sandboxId: 'sb-1',
    token: 'token-1',
    bootId: 'b',
    supervisorVersion: '0',
    ...hello,
  }
  socket.write(`${JSON.stringify(full)}\n`)
  const welcome = JSON.parse(await readFirstLine(socket)) as Supervisor['welcome']
  let listener = (_stream: ServerHttp2Stream) => {}
  if (welcome.ok && speaks) {
    const session = http2.performServerHandshake(socket)
    session.on('error', () => {})
    session.on('stream', (stream) => listener(stream))
  }
  return { socket, welcome, onStream: (next) => (listener = next) }
}

const none = Progress.none()

describe('SessionHub', () => {
  it('lets a call through to a supervisor that has dialled in', async () => {
    const { hub, path } = await makeHub()
    const waiting = hub.link('sb-1', 5_000, none)
    const supervisor = await dial(path)
    supervisor.onStream((stream) => {
      stream.respond({ ':status': 200 })
      stream.end('pong')
    })
    const stream = (await waiting).request({ ':path': '/ping' }, { endStream: true })
    const chunks: Buffer[] = []
    for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk)
    expect(Buffer.concat(chunks).toString()).toBe('pong')
    expect(hub.connected('sb-1')).toBe(true)
    expect(statSync(path).mode & 0o777).toBe(0o666)
  })

  it.each([
    ['bad_token', { token: 'token-2' }],
    ['bad_token', { sandboxId: 'sb-2' }],
    ['session_version', { versions: [999] }],
    ['bad_hello', { versions: 'all' }],
  ])('refuses a hello with %s', async (reason, hello) => {
    const { hub, path } = await makeHub()
    const { welcome } = await dial(path, hello)
    expect(welcome).toMatchObject({ ok: false, error: { reason } })
    expect(hub.connected('sb-1')).toBe(false)
  })

  it('ends a connection that talks without end before its hello', async () => {
    const { path } = await makeHub()
    const socket = connect(path)
    socket.on('error', () => {})
    const closed = once(socket, 'close')
    socket.write(Buffer.alloc(64 * 1024, 'x'))
    await closed
  })

  it('holds few connections that have not proven who they are, and serves the next real one', async () => {
    const { hub, path } = await makeHub()
    const flood = Array.from({ length: 40 }, () => connect(path).on('error', () => {}))
    let open = flood.length
    const settled = Promise.withResolvers<void>()
    for (const socket of flood) {
      socket.once('close', () => {
        open -= 1
        if (open === 8) settled.resolve()
      })
    }
    await settled.promise
    await dial(path)
    await hub.link('sb-1', 5_000, none)
  })

  it('replaces a session by a newer one at once and moves waiting calls to it', async () => {
    const { hub, path } = await makeHub()
    const older = await dial(path, { bootId: 'older' })
    await hub.link('sb-1', 5_000, none)
    const olderClosed = once(older.socket, 'close')
    await dial(path, { bootId: 'newer' })
    await olderClosed
    expect((await hub.link('sb-1', 5_000, none)).bootId).toBe('newer')
  })

  it('cuts a peer that stays silent for a lease, and tells that it was lost', async () => {
    const lost: string[] = []
    const { hub, path } = await makeHub(300, lost)
    await dial(path, {}, false)
    const link = await hub.link('sb-1', 5_000, none)
    await link.closed
    expect(lost).toEqual(['sb-1'])
    await expect(hub.link('sb-1', 50, none)).rejects.toMatchObject({ reason: 'session_lost', retryable: true })
  })

  it('keeps a healthy session through many leases without a call', async () => {
    const { hub, path } = await makeHub(200)
    await dial(path)
    const link = await hub.link('sb-1', 5_000, none)
    const leases = new Promise((resolve) => setTimeout(resolve, 200 * 8))
    expect(await Promise.race([leases.then(() => 'alive'), link.closed.then(() => 'cut')])).toBe('alive')
  })

  it('tells calls that wait why their sandbox will not come back', async () => {
    const { hub } = await makeHub()
    const waiting = hub.link('sb-1', 30_000, none)
    hub.release('sb-1', new CoppiceError('unavailable', 'sandbox_ended', 'Gone.'))
    await expect(waiting).rejects.toMatchObject({ reason: 'sandbox_ended' })
    // So is one that comes a moment later, from the link that was just cut.
    await expect(hub.link('sb-1', 30_000, none)).rejects.toMatchObject({ reason: 'sandbox_ended' })
    await expect(hub.link('sb-2', 30_000, none)).rejects.toMatchObject({ reason: 'not_running' })
  })
})
