import { once } from 'node:events'
import net, { type AddressInfo, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { resetSocket, splice } from './splice.ts'

interface Pair {
  /** Who uses the connection. */
  outer: Socket
  /** The end that is spliced. */
  inner: Socket
}

let server: Server
let sockets: Socket[]
let left: Pair
let right: Pair

beforeEach(async () => {
  server = net.createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  sockets = []
  left = await pair()
  right = await pair()
})
afterEach(() => {
  for (const socket of sockets) socket.destroy()
  server.close()
})

async function pair(): Promise<Pair> {
  const { port } = server.address() as AddressInfo
  const outer = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const [inner] = (await once(server, 'connection')) as [Socket]
  sockets.push(outer, inner)
  return { outer, inner }
}

async function readAll(socket: Socket): Promise<string> {
  let text = ''
  for await (const chunk of socket) text += chunk
  return text
}

it('moves bytes and ends each way by themselves, and resolves when both are gone', async () => {
  const over = splice(left.inner, right.inner)
  left.outer.end('question')
  expect(await readAll(right.outer)).toBe('question')
  right.outer.end('answer')
  expect(await readAll(left.outer)).toBe('answer')
  await over
  expect([left.inner.closed, right.inner.closed]).toEqual([true, true])
})

it('makes a reset of one the reset of the other', async () => {
  const over = splice(left.inner, right.inner)
  left.outer.write('half a sentence')
  await once(right.outer, 'data')
  left.outer.resetAndDestroy()
  expect((await once(right.outer, 'error'))[0]).toMatchObject({ code: 'ECONNRESET' })
  await over
})

it('leads on what one had said, to its end, before the other was made', async () => {
  left.outer.end('early')
  left.inner.resume()
  await once(left.inner, 'end')
  const over = splice(left.inner, right.inner)
  right.outer.end('late')
  expect(await readAll(right.outer)).toBe('')
  expect(await readAll(left.outer)).toBe('late')
  await over
})

it('resets the other when one was gone before', async () => {
  left.inner.destroy()
  await once(left.inner, 'close')
  const reset = once(right.outer.resume(), 'error')
  await splice(left.inner, right.inner)
  expect((await reset)[0]).toMatchObject({ code: 'ECONNRESET' })
})

it('makes who sends wait while the other does not read', async () => {
  splice(left.inner, right.inner)
  right.outer.pause()
  const chunk = Buffer.alloc(1024 * 1024)
  let sent = 0
  while (left.outer.writableLength === 0 || right.inner.writableLength <= 256 * 1024) {
    left.outer.write(chunk)
    sent += chunk.length
    await new Promise(setImmediate)
  }
  await expect.poll(() => left.inner.isPaused()).toBe(true)
  left.outer.end()
  let arrived = 0
  for await (const bytes of right.outer) arrived += bytes.length
  expect(arrived).toBe(sent)
})

it('resets what lies below TLS, whose own end would be taken for a clean one', async () => {
  const { TLSSocket } = await import('node:tls')
  const secure = new TLSSocket(left.inner, { isServer: true })
  const reset = once(left.outer.resume(), 'error')
  resetSocket(secure)
  expect((await reset)[0]).toMatchObject({ code: 'ECONNRESET' })
})
