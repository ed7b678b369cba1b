import { mkdirSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, describe, expect, test } from 'vitest'
import { Peer } from '../testing/peer.ts'
import { Engine } from './engine.ts'

const none = Progress.none()

/** What is at the engine's socket is no engine, or is not itself. */
describe('at the socket is something else', () => {
  const peers: Peer[] = []
  afterEach(async () => {
    for (const peer of peers.splice(0)) await peer.close()
  })

  const peer = async (answer: RequestListener): Promise<Peer> => {
    const made = await Peer.listen(answer)
    peers.push(made)
    return made
  }
  /** It says that it is Docker, and then `answer`s. */
  const engine = async (answer: RequestListener): Promise<Engine> => {
    const { socket } = await peer((request, response) => {
      if (request.url === '/_ping') response.writeHead(200, { 'Api-Version': '1.41' }).end('OK')
      else answer(request, response)
    })
    return Engine.connect(socket, 'docker', none)
  }
  const saying = (text: string) => engine((_request, response) => response.end(text))

  test('that is a folder, or another protocol, or a head without an end: it is said', async () => {
    const { dir } = await peer(() => {})
    mkdirSync(join(dir, 'docker.sock'))
    await expect(Engine.connect(join(dir, 'docker.sock'), 'docker', none)).rejects.toMatchObject({
      code: 'unavailable',
      reason: 'engine_gone',
      message: expect.stringContaining('a folder is there and no socket'),
    })
    for (const bytes of ['SSH-2.0-OpenSSH_9\r\n', '\0\xff\r\n\r\n', `HTTP/1.1 200 OK\r\nx: ${'a'.repeat(100_000)}`]) {
      const { socket } = await peer((request) => request.socket.end(bytes))
      await expect(Engine.connect(socket, 'docker', none)).rejects.toMatchObject({ reason: 'engine_gone' })
    }
  })

  test('that answers what no engine does: typed, in its own words, whatever was asked', async () => {
    const asked: ((engine: Engine) => Promise<unknown>)[] = [
      (from) => from.info(none),
      (from) => from.containers.list([], none),
      (from) => from.containers.inspect('x', none),
      (from) => from.containers.create('x', { Image: 'y' }, none),
      (from) => from.containers.wait('x', none),
      (from) => from.containers.commit('x', { repository: 'r', tag: 't' }, none),
      (from) => from.containers.run('x', ['true'], none),
      (from) => from.containers.statPath('x', '/', none),
      (from) => from.images.list([], none),
      (from) => from.images.inspect('x', none),
    ]
    for (const text of ['<html>hello</html>', '', '{"Id":', 'null', '7', '{}', '[null]']) {
      const from = await saying(text)
      for (const ask of asked) {
        await expect(ask(from)).rejects.toMatchObject({ code: 'unavailable', reason: 'answer_garbled' })
      }
    }
  })

  test('that refuses and does not finish the reason: what has come of it is told', { timeout: 20_000 }, async () => {
    const from = await engine((_request, response) => {
      response.writeHead(500, { 'content-length': 1000 }).write('half a reas')
    })
    await expect(from.containers.commit('x', { repository: 'r', tag: 't' }, none)).rejects.toMatchObject({
      reason: 'engine_refused',
      message: expect.stringContaining('half a reas'),
    })
  })

  test('whose events make no sense: those are left out, and the rest is told', async () => {
    const whole = { Type: 'container', Action: 'die', Actor: { ID: 'x', Attributes: { name: 'n' } }, timeNano: 5e6 }
    const odd: unknown[] = [
      [1],
      null,
      'x',
      { Action: 5, Actor: { ID: 'x' } },
      { Action: 'die', Actor: null },
      { ...whole, Actor: { ID: 'odd', Attributes: { name: 5 } } },
      { ...whole, timeNano: 'soon', Actor: { ID: 'late', Attributes: 'none' } },
    ]
    const from = await saying(
      ['{"half', ...odd.map((event) => JSON.stringify(event)), JSON.stringify(whole)].join('\n'),
    )
    const events = []
    for await (const event of from.events({ follow: true }, none)) events.push(event)
    expect(events).toEqual([
      { type: 'container', action: 'die', id: 'odd', attributes: {}, at: 5 },
      { type: 'container', action: 'die', id: 'late', attributes: {}, at: 0 },
      { type: 'container', action: 'die', id: 'x', attributes: { name: 'n' }, at: 5 },
    ])
  })
})
