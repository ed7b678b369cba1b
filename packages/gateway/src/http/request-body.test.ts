import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { discardRest, endOf, leavable } from './request-body.ts'

/** More than the buffers of all sockets on the way hold. */
const BODY_BYTES = 64 * 1024 * 1024

let server: Server
let handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>
beforeEach(async () => {
  server = createServer((request, response) => {
    response.writeHead(200)
    response.write('the reason')
    handle(request, response).then(() => response.writableEnded || response.end())
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
})
afterEach(() => {
  server.closeAllConnections()
  server.close()
})

/** Sends all of a body before it reads a byte, as simple clients do, and a second request where it may. What it is answered. */
async function sendThenRead(...headers: string[]): Promise<string> {
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const send = (bytes: string | Buffer) =>
    new Promise<void>((resolve, reject) => socket.write(bytes, (error) => (error ? reject(error) : resolve())))
  await send(['POST / HTTP/1.1', 'Host: x', `Content-Length: ${BODY_BYTES}`, ...headers, '', ''].join('\r\n'))
  const piece = Buffer.alloc(1024 * 1024)
  for (let sent = 0; sent < BODY_BYTES; sent += piece.length) await send(piece)
  if (headers.length === 0) await send('GET /again HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  return text(socket)
}

it.each([
  ['reads a little of it', async (body: AsyncGenerator<Buffer>) => void (await body.next())],
  [
    'leaves it in a loop',
    async (body: AsyncGenerator<Buffer>) => {
      for await (const _ of body) break
    },
  ],
  [
    'still waits for more of it',
    async (body: AsyncGenerator<Buffer>) => {
      await body.next()
      void body.next()
    },
  ],
  ['reads nothing of it', async () => {}],
])('a client that sends first and reads later gets the answer of one who %s', async (_, read) => {
  handle = async (request) => {
    const body = leavable(request)
    await read(body)
    await discardRest(request, body)
  }
  const answer = await sendThenRead()
  expect(answer.match(/the reason/g)).toHaveLength(2)
  expect(await sendThenRead('Connection: close')).toContain('the reason')
})

it('a client that goes on sending without end is not listened to for ever', async () => {
  const over = Promise.withResolvers<void>()
  handle = (request) => discardRest(request, undefined, 100).then(over.resolve)
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n')
  await over.promise
  expect(await text(socket)).toContain('the reason')
})

it('a client that falls silent in the middle has the answer, and then no connection', async () => {
  handle = async (request, response) => {
    await discardRest(request, undefined, 100)
    endOf(request, response)
  }
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx')
  expect(await text(socket)).toContain('the reason')
})
