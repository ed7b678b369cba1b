import { once } from 'node:events'
import type { RequestListener, ServerResponse } from 'node:http'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { Peer } from '../testing/peer.ts'
import { Engine } from './engine.ts'

const none = Progress.none()
const END = Buffer.alloc(1024)
const stalled = { code: 'deadline_exceeded', reason: 'transfer_stalled', facts: { stallMs: 50, engine: 'docker' } }

/** In chunks, as engines send it. */
function exported(response: ServerResponse | undefined, bytes: Buffer): void {
  response?.write(bytes)
  response?.end()
}

/** What an engine says to the calls of an export. */
interface Answers {
  save: RequestListener
  /** After the first, which everybody's answers. */
  ping?: RequestListener
  sizeBytes?: number
}

describe('an export of an engine', () => {
  beforeEach(() => void vi.stubEnv('COPPICE_TRANSFER_STALL_SECS', '0.05'))
  afterEach(() => void vi.unstubAllEnvs())

  const engine = async ({ save, ping = pong, sizeBytes = 0 }: Answers): Promise<Engine> => {
    let connected = false
    const peer = await Peer.listen((request, response) => {
      if (request.url === '/_ping') {
        const answer = connected ? ping : pong
        connected = true
        answer(request, response)
      } else if (request.url?.includes('/images/get')) save(request, response)
      else response.end(JSON.stringify({ Id: 'x', Size: sizeBytes }))
    })
    onTestFinished(() => peer.close())
    return Engine.connect(peer.socket, 'docker', none)
  }
  const pong: RequestListener = (_request, response) => response.writeHead(200, { 'Api-Version': '1.41' }).end('OK')
  const read = (from: Engine, progress = none) => Array.fromAsync(from.images.save(['x'], progress))

  test('that it prepares is waited for while it answers elsewhere', async () => {
    let pings = 0
    let waiting: ServerResponse | undefined
    const from = await engine({
      sizeBytes: 5e9,
      save: (_request, response) => {
        waiting = response
      },
      ping: (request, response) => {
        pong(request, response)
        if (++pings === 3) exported(waiting, END)
      },
    })
    expect(Buffer.concat(await read(from))).toEqual(END)
    expect(pings).toBe(3)
  })

  test('that it prepares is given up when it does not answer elsewhere, and hung up', async () => {
    const hungUp = Promise.withResolvers<unknown>()
    const from = await engine({
      sizeBytes: 5e9,
      save: (request) => hungUp.resolve(once(request.socket, 'close')),
      ping: (request) => request.socket.destroy(),
    })
    await expect(read(from)).rejects.toMatchObject(stalled)
    await hungUp.promise
  })

  test('that it prepares for longer than the image is large is given up although it answers elsewhere', async () => {
    const from = await engine({ sizeBytes: 500_000, save: () => {} })
    await expect(read(from)).rejects.toMatchObject(stalled)
  })

  test('that has begun is given up when nothing comes, although the engine answers elsewhere', async () => {
    let pings = 0
    const from = await engine({
      sizeBytes: 5e9,
      save: (_request, response) => response.write(Buffer.alloc(1024 * 1024)),
      ping: (request, response) => {
        pings++
        pong(request, response)
      },
    })
    await expect(read(from)).rejects.toMatchObject(stalled)
    expect(pings).toBe(0)
  })

  test('whose reader takes its time is not given up', async () => {
    const from = await engine({ save: (_request, response) => exported(response, Buffer.alloc(4 * 1024 * 1024)) })
    let bytes = 0
    for await (const chunk of from.images.save(['x'], none)) {
      // What a slow reader does: no synchronisation.
      if (bytes === 0) await new Promise((resolve) => setTimeout(resolve, 150))
      bytes += chunk.length
    }
    expect(bytes).toBe(4 * 1024 * 1024)
  })

  test('that is refused, or that nobody wants any more, ends as that', async () => {
    const refusing = await engine({
      save: (_request, response) => response.writeHead(404).end('{"message":"no such image"}'),
    })
    await expect(read(refusing)).rejects.toMatchObject({ code: 'not_found' })
    const abort = new AbortController()
    const silent = await engine({ sizeBytes: 5e9, save: () => {}, ping: () => abort.abort() })
    await expect(read(silent, new Progress({ signal: abort.signal }))).rejects.toMatchObject({ code: 'cancelled' })
  })
})
