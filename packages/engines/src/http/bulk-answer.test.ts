import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, expect, test } from 'vitest'
import { DIALECTS } from '../dialect.ts'
import { Peer } from '../testing/peer.ts'
import { Transport } from './transport.ts'

const KiB = 1024
const none = Progress.none()
const closers: (() => Promise<unknown> | unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function to(answer: RequestListener): Promise<Transport> {
  const peer = await Peer.listen(answer)
  closers.push(() => peer.close())
  return new Transport(peer.socket, DIALECTS.docker)
}

/** Somebody who writes bytes as they are, and not HTTP. */
async function toRaw(answer: (socket: Socket) => void): Promise<Transport> {
  const peer = await Peer.listen(() => {})
  closers.push(() => peer.close())
  const path = join(peer.dir, 'raw.sock')
  const server = createServer((socket) => socket.once('data', () => answer(socket))).listen(path)
  await once(server, 'listening')
  closers.push(() => server.close())
  return new Transport(path, DIALECTS.docker)
}

const download = (transport: Transport, progress = none) =>
  transport.download({ path: '/images/get', query: { names: 'app:1' } }, progress)

test.each([
  ['none', []],
  ['one byte', [1]],
  ['as much as a buffer holds', [256 * KiB]],
  ['many of all sizes', Array.from({ length: 200 }, (_, at) => 1 + ((at * 7919) % 100_000))],
  ['large ones', [3000 * KiB, 5, 3000 * KiB]],
])('a body comes whole and in order to a slow reader: pieces of %s', async (_what, sizes) => {
  const pieces = sizes.map((size) => randomBytes(size))
  const transport = await to((_request, response) => {
    for (const piece of pieces) response.write(piece)
    response.end()
  })
  const lengths: number[] = []
  const hash = createHash('sha256')
  for await (const chunk of download(transport)) {
    lengths.push(chunk.length)
    // What it holds is the reader's until it asks for the next.
    await new Promise((resolve) => setImmediate(resolve))
    hash.update(chunk)
  }
  expect(hash.digest('hex')).toBe(createHash('sha256').update(Buffer.concat(pieces)).digest('hex'))
  expect(lengths.slice(0, -1).every((length) => length === 256 * KiB)).toBe(true)
})

test('a body is read into the same memory again and again, and no further ahead than that', async () => {
  let given = 0
  const transport = await to((_request, response) => {
    const give = (): void => {
      while (!response.destroyed && given < 64 * KiB * KiB) {
        given += 64 * KiB
        if (!response.write(Buffer.alloc(64 * KiB))) return void response.once('drain', give)
      }
      response.end()
    }
    give()
  })
  const used = new Set<ArrayBufferLike>()
  for await (const chunk of download(transport)) {
    used.add(chunk.buffer)
    if (used.size > 1 || chunk.length === 0) continue
    // The first: nobody asks for more, and what is ahead of it is bounded by us and the kernel's own buffers.
    for (let round = 0; round < 200; round++) await new Promise((resolve) => setImmediate(resolve))
    expect(given).toBeLessThan(4096 * KiB)
  }
  expect(given).toBe(64 * KiB * KiB)
  expect(used.size).toBe(4)
})

test('a body that is cut is never taken for whole', async () => {
  const transport = await to((_request, response) => {
    response.write('half')
    response.socket?.destroySoon()
  })
  await expect(Array.fromAsync(download(transport))).rejects.toMatchObject({ reason: 'engine_gone' })
})

test('a refusal is told in the words of the engine', async () => {
  const transport = await to((_request, response) => {
    response.writeHead(404).end('{"message":"No such image: app:1"}')
  })
  await expect(Array.fromAsync(download(transport))).rejects.toMatchObject({
    code: 'not_found',
    message: expect.stringContaining('No such image: app:1'),
  })
})

test('a success in another form is read too', async () => {
  const transport = await to((_request, response) => {
    response.writeHead(200, { 'content-length': '5' }).end('hello')
  })
  expect(Buffer.concat(await Array.fromAsync(download(transport))).toString()).toBe('hello')
})

test('nobody behind the socket, and no HTTP there, are said', async () => {
  const gone = new Transport('/nonexistent/engine.sock', DIALECTS.docker)
  await expect(Array.fromAsync(download(gone))).rejects.toMatchObject({ reason: 'engine_gone' })
  const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
  const other = await toRaw((socket) => socket.end(`${head}zzz\r\n`))
  await expect(Array.fromAsync(download(other))).rejects.toThrow('cannot be read')
  const endless = await toRaw((socket) => socket.end('x'.repeat(100_000)))
  await expect(Array.fromAsync(download(endless))).rejects.toThrow('no end of the head')
})

test('the engine is hung up on when the progress ends, or the reader stops', async () => {
  const closed: Promise<unknown>[] = []
  const transport = await to((_request, response) => {
    closed.push(once(response, 'close'))
    response.write(Buffer.alloc(300 * KiB))
  })
  const abort = new AbortController()
  const chunks = download(transport, new Progress({ signal: abort.signal }))
  await chunks.next()
  const next = chunks.next()
  abort.abort()
  await expect(next).rejects.toMatchObject({ code: 'cancelled' })
  for await (const _chunk of download(transport)) break
  expect(closed).toHaveLength(2)
  await Promise.all(closed)
})
