import { createServer, get, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ImageEvent } from '@coppice/protocol'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EventLines } from './event-lines.ts'

const MiB = 1024 * 1024

let server: Server
let received: IncomingMessage
let response: ServerResponse
beforeEach(async () => {
  const answered = Promise.withResolvers<ServerResponse>()
  server = createServer((_, to) => {
    to.writeHead(200)
    to.flushHeaders()
    answered.resolve(to)
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  // It reads the head of the answer, and nothing of its body until it is told to.
  received = await new Promise<IncomingMessage>((resolve) => get({ host: '127.0.0.1', port, agent: false }, resolve))
  response = await answered.promise
})
afterEach(() => {
  received.destroy()
  server.closeAllConnections()
  server.close()
})

async function all(): Promise<ImageEvent[]> {
  const text = Buffer.concat(await Array.fromAsync(received as AsyncIterable<Buffer>)).toString()
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as ImageEvent)
}

const done: ImageEvent = { event: 'done', image: null, facts: {} }

describe('event lines for a client that does not read', () => {
  it('take a bounded amount of memory, and end with how much is missing and the outcome', async () => {
    const lines = new EventLines(response)
    const line = 'x'.repeat(1000)
    const count = 100_000
    for (let at = 0; at < count; at++) {
      lines.log(`${at} ${line}`)
      lines.progress({ message: `step ${at}` })
      if (at % 1000 === 0) await new Promise(setImmediate)
      expect(response.writableLength).toBeLessThan(2 * MiB)
    }
    lines.last(done)
    response.end()
    const events = await all()
    // Its sockets may have taken some in between: every line is there, in its place, or counted.
    let next = 0
    let gaps = 0
    for (const event of events) {
      if (event.event !== 'log') continue
      const missing = /^\[(\d+) lines of the log are left out here/.exec(event.line)?.[1]
      if (missing === undefined) expect(event.line.startsWith(`${next} `)).toBe(true)
      next += Number(missing ?? 1)
      gaps += missing === undefined ? 0 : 1
    }
    expect(next).toBe(count)
    expect(gaps).toBeGreaterThan(0)
    expect(events.at(-1)).toEqual(done)
  })

  it('go on after it has read, with the gap where it is', async () => {
    const lines = new EventLines(response)
    for (let at = 0; response.writableLength < MiB; at++) {
      lines.log('y'.repeat(60_000))
      if (at % 10 === 0) await new Promise(setImmediate)
    }
    lines.log('lost')
    lines.log('lost too')
    const drained = new Promise((resolve) => response.once('drain', resolve))
    const reading = all()
    await drained
    lines.log('after')
    lines.last(done)
    response.end()
    const last = (await reading).slice(-3)
    expect(last).toEqual([
      { event: 'log', line: '[2 lines of the log are left out here: they were not read in time]' },
      { event: 'log', line: 'after' },
      done,
    ])
  })
})

it('event lines are no longer than a client takes, and say what is cut off', async () => {
  const lines = new EventLines(response)
  lines.log('"'.repeat(3 * MiB))
  lines.last(done)
  response.end()
  const [log] = await all()
  expect(log).toMatchObject({
    event: 'log',
    line: expect.stringMatching(/^"{65536} \[\d+ characters are left out here\]$/),
  })
})

it('progress comes now and then, and always at the end of a step', async () => {
  const lines = new EventLines(response)
  for (let at = 0; at <= 1000; at++) lines.progress({ message: 'Sending', done: at, total: 1000, unit: 'bytes' })
  lines.last(done)
  response.end()
  const events = await all()
  expect(events.length).toBeLessThan(20)
  expect(events.at(-2)).toEqual({ event: 'progress', message: 'Sending', done: 1000, total: 1000, unit: 'bytes' })
})
