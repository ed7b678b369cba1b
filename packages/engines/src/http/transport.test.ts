import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, describe, expect, test } from 'vitest'
import { DIALECTS } from '../dialect.ts'
import { Peer } from '../testing/peer.ts'
import { jsonLines, lines } from './body.ts'
import { Transport } from './transport.ts'

const none = Progress.none()

/** Bytes of the heap that something still needs. */
function heapHeld(): number {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  return process.memoryUsage().heapUsed
}

describe('calls over a socket', () => {
  const peers: Peer[] = []
  afterEach(async () => {
    for (const peer of peers.splice(0)) await peer.close()
  })

  const to = async (answer: RequestListener): Promise<Transport> => {
    const peer = await Peer.listen(answer)
    peers.push(peer)
    return new Transport(peer.socket, DIALECTS.docker)
  }
  const get = (transport: Transport, progress = none, timeoutMs = 5000) =>
    transport.send({ method: 'GET', path: '/x', timeoutMs }, progress)

  test('say what is wrong and what to do when there is no socket, or nobody behind it', async () => {
    const peer = await Peer.listen(() => {})
    const gone = new Transport(`${peer.dir}/other.sock`, DIALECTS.podman)
    await expect(get(gone)).rejects.toMatchObject({
      code: 'unavailable',
      reason: 'engine_gone',
      retryable: true,
      hint: 'systemctl start podman.socket',
    })
    await peer.close()
  })

  test('end when the other side takes the call and never answers', async () => {
    const transport = await to(() => {})
    await expect(get(transport, none, 50)).rejects.toMatchObject({ code: 'unavailable', reason: 'engine_silent' })
  })

  test('hang up when the progress ends', async () => {
    const abort = new AbortController()
    let hungUp: Promise<unknown> | undefined
    const transport = await to((_request, response) => {
      hungUp = once(response, 'close')
      abort.abort()
    })
    await expect(get(transport, new Progress({ signal: abort.signal }))).rejects.toMatchObject({ code: 'cancelled' })
    await hungUp
  })

  test('that ask for another protocol and are not given it end as what they were answered', async () => {
    const ask = async (answer: RequestListener, progress = none): Promise<unknown> => {
      const transport = await to(answer)
      return transport.upgrade({ method: 'POST', path: '/x', timeoutMs: 100 }, 'h2c', progress).catch((cause) => cause)
    }
    expect(await ask((_request, response) => response.writeHead(403).end('{"message":"not you"}'))).toMatchObject({
      code: 'permission_denied',
      reason: 'engine_refused',
      facts: { detail: 'not you' },
    })
    expect(await ask((_request, response) => response.end('hello'))).toMatchObject({ reason: 'engine_refused' })
    expect(await ask((request) => request.socket.destroy())).toMatchObject({ reason: 'engine_gone' })
    expect(await ask(() => {})).toMatchObject({ reason: 'engine_silent' })
    const abort = new AbortController()
    expect(await ask(() => abort.abort(), new Progress({ signal: abort.signal }))).toMatchObject({ code: 'cancelled' })
  })

  test('end when the other side hangs up in the middle of an answer', async () => {
    const transport = await to((_request, response) => {
      response.write('half')
      response.socket?.destroySoon()
    })
    const { body } = await get(transport)
    const read = async (): Promise<void> => {
      for await (const _chunk of transport.read(body, none));
    }
    await expect(read()).rejects.toMatchObject({ code: 'unavailable', reason: 'engine_gone' })
  })

  test('pass on a refusal in the words of the engine, and know a full disk', async () => {
    const refusing = async (status: number, text: string): Promise<unknown> =>
      get(await to((_request, response) => response.writeHead(status).end(text))).catch((cause: unknown) => cause)
    expect(await refusing(404, '{"message":"No such container: x"}')).toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('No such container: x'),
    })
    expect(await refusing(500, '{"message":"write /x: no space left on device"}')).toMatchObject({
      code: 'resource_exhausted',
      reason: 'engine_disk_full',
    })
    expect(await refusing(500, 'x'.repeat(1_000_000))).toMatchObject({ code: 'unavailable', retryable: false })
  })

  test('send a body as fast as it is taken, and no faster', async () => {
    let made = 0
    let release: (() => void) | undefined
    const transport = await to(async (request, response) => {
      await new Promise<void>((resolve) => {
        release = resolve
      })
      let length = 0
      for await (const chunk of request) length += chunk.length
      response.end(String(length))
    })
    const total = 64
    async function* chunks() {
      for (; made < total; made++) yield Buffer.alloc(256 * 1024)
    }
    const sizeBytes = total * 256 * 1024
    const sending = transport.send({ method: 'PUT', path: '/x', body: { sizeBytes, chunks: chunks() } }, none)
    // What the buffers of the socket hold is taken; then it stands still.
    for (let still = 0, before = -1; still < 200 || release === undefined; ) {
      still = before === made ? still + 1 : 0
      before = made
      await new Promise(setImmediate)
    }
    expect(made).toBeLessThan(total / 2)
    release()
    const { body } = await sending
    for await (const chunk of transport.read(body, none)) expect(chunk.toString()).toBe(String(sizeBytes))
  })

  test('send a body of any length without keeping anything of what was sent', async () => {
    const transport = await to(async (request, response) => {
      request.resume()
      await once(request, 'end')
      response.end()
    })
    const chunk = Buffer.alloc(64 * 1024)
    const held: number[] = []
    async function* chunks() {
      for (let made = 0; made <= 12_000; made++) {
        if (made % 6_000 === 0) held.push(heapHeld())
        yield chunk
      }
    }
    const { body } = await transport.send({ method: 'POST', path: '/x', body: { chunks: chunks() } }, none)
    body.destroy()
    const [, after6000 = 0, after12000 = 0] = held
    // 0.3 KB for each chunk would be 1.8 MB.
    expect(after12000 - after6000).toBeLessThan(700_000)
  })

  test('a body that is longer or shorter than was said fails, and never looks whole to the other side', async () => {
    for (const said of [9, 11]) {
      const { transport, arrived, complete } = await swallowing()
      async function* chunks() {
        yield Buffer.alloc(5)
        await arrived
        yield Buffer.alloc(5)
      }
      const body = { sizeBytes: said, chunks: chunks() }
      await expect(transport.send({ method: 'PUT', path: '/x', body }, none)).rejects.toMatchObject({
        code: 'conflict',
        reason: 'source_changed',
        facts: { expected: said, sent: 10 },
      })
      expect(await complete).toBe(false)
    }
  })

  test('an upload that is refused stops, and the refusal is what is told', async () => {
    const transport = await to((_request, response) => {
      response.writeHead(404).end('{"message":"no such container"}')
    })
    let made = 0
    async function* endless() {
      for (;;) {
        made++
        yield Buffer.alloc(64 * 1024)
      }
    }
    await expect(
      transport.send({ method: 'PUT', path: '/x', body: { chunks: endless() } }, none),
    ).rejects.toMatchObject({ code: 'not_found' })
    expect(made).toBeGreaterThan(0)
  })

  test('a source that fails takes the upload with it, and is what is told', async () => {
    const { transport, arrived, complete } = await swallowing()
    async function* broken() {
      yield Buffer.alloc(1000)
      await arrived
      throw new Error('the source broke')
    }
    await expect(transport.send({ method: 'PUT', path: '/x', body: { chunks: broken() } }, none)).rejects.toMatchObject(
      { message: 'the source broke' },
    )
    expect(await complete).toBe(false)
  })

  /** Takes a body and answers nothing. `complete`: whether the body was whole when the connection ended. */
  const swallowing = async () => {
    const arrived = Promise.withResolvers<void>()
    const complete = Promise.withResolvers<boolean>()
    const transport = await to((request) => {
      arrived.resolve()
      request.on('error', () => {})
      request.on('close', () => complete.resolve(request.complete))
      request.resume()
    })
    return { transport, arrived: arrived.promise, complete: complete.promise }
  }
})

describe('lines of a stream', () => {
  async function* parts(...texts: string[]) {
    for (const text of texts) yield Buffer.from(text)
  }
  const all = async <T>(source: AsyncIterable<T>): Promise<T[]> => Array.fromAsync(source)

  test('are found wherever it is cut', async () => {
    expect(await all(lines(parts('a\nb', 'c\r\n', '\n', 'd')))).toEqual(['a', 'bc', 'd'])
  })

  test('that are no JSON objects are left out', async () => {
    expect(await all(jsonLines(parts('{"a":1}\nnot json\n7\n{"b":', '2}\n')))).toEqual([{ a: 1 }, { b: 2 }])
  })

  test('that never end are an error', async () => {
    async function* endless() {
      for (;;) yield Buffer.alloc(64 * 1024, 'x')
    }
    await expect(all(lines(endless()))).rejects.toMatchObject({ reason: 'answer_too_large' })
  })
})
